"""Every exit code, and every kind of error: detail, request id, hint; never a traceback."""

import http.server
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from clistand import Stand, command
from programs import free_port

from codexrun_cli.exit_codes import MEANING, Code, of_run, worst
from codexrun_cli.transports.rest.http import code_of

ROOT = Path(__file__).parents[3]

ROWS = {
    Code.DONE: ["jobtypes", "list"],
    Code.FAILED: ["start", "hello"],
    Code.USAGE: ["list", "--status", "finished"],
    Code.CANCELLED: ["wait", "was-cancelled"],
    Code.NOT_ALLOWED: ["list"],
    Code.NOT_FOUND: ["status", "nowhere"],
    Code.CONFLICT: ["cancel", "was-cancelled-late"],
    Code.UNREACHABLE: ["list", "--server", "http://127.0.0.1:9"],
    Code.UNKNOWN: ["wait", "vanished"],
    Code.TIMEOUT: ["wait", "live", "--timeout", "0.1"],
}


@pytest.mark.parametrize("code", ROWS, ids=lambda code: code.name)
def test_a_command_for_each_exit_code(stand: Stand, code: Code) -> None:
    env = {"CODEX_CONTROL_TOKEN": "wrong"} if code is Code.NOT_ALLOWED else {}
    if code is Code.CANCELLED:
        stand.finished("--name", "was-cancelled", phase="Cancelled")
    if code is Code.CONFLICT:
        stand.finished("--name", "was-cancelled-late")
    if code is Code.TIMEOUT:
        stand.start("--name", "live")
    if code is Code.UNKNOWN:
        stand.start("--name", "vanished")
        stand.rest = False
        stand.at_once(
            stand.kube.patch, f"{stand.kube.runs}/vanished", {"metadata": {"labels": {"x": "y"}}}
        )
        get = stand.kube.get

        async def gone_once_read(path: str) -> Any:
            answer = await get(path)
            stand.kube.remove(f"{stand.kube.runs}/vanished")
            return answer

        stand.kube.get = gone_once_read
    done = stand.cli(*ROWS[code], env=env)
    assert done.code == code, done
    assert "Traceback" not in done.err


def test_ctrl_c_has_its_row_too() -> None:
    """It is pressed on a real terminal in test_cli_terminal.py."""
    assert {*ROWS, Code.INTERRUPTED} == set(MEANING) == set(Code)


def test_help_exit_codes_prints_the_table(stand: Stand) -> None:
    lines = stand.cli("help", "exit-codes").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "124",
        "130",
    ]
    assert max(map(len, lines)) <= 80


def test_the_first_that_did_not_succeed_decides() -> None:
    assert worst([Code.DONE, Code.CANCELLED, Code.FAILED]) is Code.CANCELLED
    assert worst([]) is Code.DONE
    assert of_run("deleted") is Code.UNKNOWN


def problem(status: int, code: str, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {
        "type": f"urn:codexrun:problem:{code}",
        "title": "A Title",
        "status": status,
        "detail": f"the detail of {code}",
        "code": code,
        "request_id": "req-1",
        **more,
    }


# Every code that the api answers with, and what the command makes of it.
PROBLEMS = [
    (problem(400, "bad-page-token"), Code.FAILED, ""),
    (problem(400, "bad-request"), Code.FAILED, ""),
    (
        problem(401, "unauthenticated"),
        Code.NOT_ALLOWED,
        "set CODEX_CONTROL_TOKEN, or store a token with `codexrun login`",
    ),
    (
        problem(403, "refused-by-cluster"),
        Code.NOT_ALLOWED,
        "`codexrun doctor` shows which permission is missing",
    ),
    (
        problem(404, "run-not-found"),
        Code.NOT_FOUND,
        "`codexrun list` shows the runs that exist",
    ),
    (
        problem(404, "job-type-not-found"),
        Code.NOT_FOUND,
        "`codexrun jobtypes list` shows what can be started",
    ),
    (problem(404, "artifact-not-found"), Code.NOT_FOUND, ""),
    (
        problem(404, "prompt-not-found"),
        Code.NOT_FOUND,
        "`codexrun prompts list` shows the prompts that exist",
    ),
    (problem(404, "not-found"), Code.NOT_FOUND, ""),
    (problem(405, "method-not-allowed"), Code.FAILED, ""),
    (problem(409, "name-taken"), Code.CONFLICT, "choose another --name, or leave it out"),
    (problem(409, "run-finished"), Code.CONFLICT, "`codexrun retry NAME` runs it again"),
    (problem(409, "run-not-finished"), Code.CONFLICT, "`codexrun cancel NAME` cancels it"),
    (problem(409, "run-deleted"), Code.CONFLICT, ""),
    (problem(413, "body-too-large"), Code.FAILED, ""),
    (problem(400, "too-many-parameters"), Code.FAILED, ""),
    (problem(414, "uri-too-long"), Code.FAILED, ""),
    (problem(431, "headers-too-large"), Code.FAILED, ""),
    (problem(416, "range-not-satisfiable"), Code.FAILED, ""),
    (problem(422, "invalid-request"), Code.FAILED, ""),
    (problem(422, "invalid-run"), Code.FAILED, ""),
    (
        problem(422, "invalid-inputs"),
        Code.FAILED,
        "`codexrun jobtypes show JOB_TYPE` lists the inputs",
    ),
    (problem(422, "model-not-allowed"), Code.FAILED, ""),
    (
        problem(422, "idempotency-key-reused"),
        Code.CONFLICT,
        "use another --idempotency-key, or leave it out",
    ),
    (
        problem(429, "concurrency-limit", retry_after=7),
        Code.FAILED,
        "without --reject, the run waits for its turn",
    ),
    (
        problem(429, "job-type-suspended"),
        Code.FAILED,
        "without --reject, the run waits until the job type is resumed",
    ),
    (
        problem(429, "job-type-held"),
        Code.FAILED,
        "without --reject, the run waits until the cluster accepts its Job",
    ),
    (problem(500, "internal"), Code.FAILED, ""),
    (problem(503, "unavailable"), Code.UNREACHABLE, "run `codexrun doctor` to find the cause"),
]


class Answering(http.server.BaseHTTPRequestHandler):
    """Gives one answer to everything."""

    answer: tuple[int, Any] = (200, {})
    seen: ClassVar[list[tuple[str, str, dict[str, str]]]] = []

    def _answer(self) -> None:
        type(self).seen.append((self.command, self.path, dict(self.headers)))
        status, body = type(self).answer
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def answering() -> Iterator[type[Answering]]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    Answering.seen = []
    Answering.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield Answering
    server.shutdown()


@pytest.fixture
def cli(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, answering: type[Answering]) -> Any:
    """The command before a server that gives one answer."""
    from typer.testing import CliRunner

    from codexrun_cli.main import app

    monkeypatch.setattr("time.sleep", lambda _: None)
    url = answering.url  # type: ignore[attr-defined]
    env = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "COLUMNS": "80",
        "CODEX_CONTROL_URL": url,
        "CODEX_CONTROL_TOKEN": "s3cret-token",
    }
    return lambda *words, **more: CliRunner().invoke(
        app, words, env={**env, **more}, prog_name="codexrun"
    )


@pytest.mark.parametrize(
    ("answer", "code", "hint"), PROBLEMS, ids=[row[0][1]["code"] for row in PROBLEMS]
)
def test_each_problem_has_detail_request_id_hint_and_code(
    cli: Any, answering: type[Answering], answer: tuple[int, Any], code: Code, hint: str
) -> None:
    answering.answer = answer
    done = cli("status", "x", "-o", "json")
    assert (done.exit_code, done.stdout) == (code, "")
    lines = done.stderr.splitlines()
    assert lines[0] == f"codexrun: the detail of {answer[1]['code']}"
    assert "  request ID: req-1" in lines
    assert (
        ([line for line in lines if "hint:" in line] == [f"  hint: {hint}"])
        if hint
        else ("hint:" not in done.stderr)
    )
    assert ("  try again in 7s" in lines) == ("retry_after" in answer[1])


def test_every_problem_of_the_api_is_in_the_table_above() -> None:
    source = "".join(path.read_text() for path in ROOT.glob("api/codexrun_api/*.py"))
    codes = set(re.findall(r"Problem\(\s*\d{3},\s*\"([a-z-]+)\"", source)) | set(
        re.findall(r"\b4\d\d: \"([a-z-]+)\"", source)
    )
    assert codes <= {row[0][1]["code"] for row in PROBLEMS}


def test_fields_are_named(cli: Any, answering: type[Answering]) -> None:
    errors = [
        {"pointer": "/inputs/name", "detail": "is missing"},
        {"parameter": "page_size", "detail": "is too large"},
    ]
    answering.answer = problem(422, "invalid-request", errors=errors)
    said = cli("list").stderr
    assert "  /inputs/name: is missing\n" in said
    assert "  page_size: is too large\n" in said


@pytest.mark.parametrize(
    "body", [b"<html>502 Bad Gateway</html>", b"", b"[]"], ids=["html", "empty", "no object"]
)
def test_an_answer_that_is_no_problem(cli: Any, answering: type[Answering], body: bytes) -> None:
    answering.answer = (502, body)
    done = cli("list")
    assert done.exit_code == Code.UNREACHABLE
    assert "responded with HTTP 502" in done.stderr


def test_a_server_that_is_something_else(cli: Any, answering: type[Answering]) -> None:
    answering.answer = (200, b"<html>welcome</html>")
    done = cli("list")
    assert done.exit_code == Code.FAILED
    assert "does not respond like a codexrun REST API" in done.stderr


def test_a_redirect_is_not_followed_with_the_token(cli: Any, answering: type[Answering]) -> None:
    answering.answer = (302, b"")
    done = cli("list")
    assert done.exit_code == Code.FAILED
    assert "HTTP 302" in done.stderr
    assert len(answering.seen) == 1


def test_debug_shows_calls_and_no_token(cli: Any, answering: type[Answering]) -> None:
    answering.answer = problem(404, "run-not-found")
    done = cli("status", "x", "--debug")
    assert re.search(r"debug: GET http://127\.0\.0\.1:\d+/runs/x -> 404 \(\d+ ms\)", done.stderr)
    assert "s3cret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_token_goes_into_its_header_alone(cli: Any, answering: type[Answering]) -> None:
    answering.answer = (200, {"runs": []})
    cli("list")
    _, path, headers = answering.seen[0]
    assert "s3cret" not in path
    assert headers["Authorization"] == "Bearer s3cret-token"


def test_a_start_is_repeated_with_its_key_while_nobody_answers(
    cli: Any, answering: type[Answering]
) -> None:
    answering.answer = problem(503, "unavailable")
    assert cli("start", "hello", "-p", "name=x").exit_code == Code.UNREACHABLE
    keys = [headers["Idempotency-Key"] for _, _, headers in answering.seen]
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_nobody_listens(cli: Any) -> None:
    done = cli("list", CODEX_CONTROL_URL=f"http://127.0.0.1:{free_port()}")
    assert done.exit_code == Code.UNREACHABLE
    assert "is not responding: Connection refused" in done.stderr
    assert "hint:" in done.stderr


def test_no_cluster_and_no_api_says_how_to_get_one(tmp_path: Path) -> None:
    """In a process of its own: the Kubernetes client reads KUBECONFIG once, when it is imported."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "none"),
    }
    done = subprocess.run(
        [*command(), "list"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == Code.UNREACHABLE, done.stderr
    assert "there is no usable kubeconfig" in done.stderr
    assert "codexrun login URL" in done.stderr


@pytest.mark.parametrize(
    "command", [["stats"], ["cleanup"], ["open", "mine"], ["logs", "mine"]], ids=" ".join
)
def test_what_needs_the_api_says_so(stand: Stand, command: list[str]) -> None:
    stand.finished("--name", "mine")
    stand.rest = False
    done = stand.cli(*command)
    assert (done.code, done.out) == (Code.UNREACHABLE, "")
    assert "needs the REST API" in done.err
    assert "hint: give --server URL, set CODEX_CONTROL_URL" in done.err


WRONG = [
    (["start"], "name a job type; `codexrun jobtypes list` shows what can be started"),
    (["start", "hello", "-p", "name"], '"name" is not a valid input; write KEY=VALUE'),
    (["start", "hello", "-p", "n:=x"], "the part after := is not valid JSON"),
    (["start", "hello", "-f", "/not/there"], "/not/there"),
    (["start", "hello", "--limit", "tokens=1"], '"tokens=1" is not a valid limit'),
    (["start", "hello", "--wait", "--follow"], "use only one of --wait, --watch, --follow"),
    (["start", "hello", "--ref", "main"], "add --git"),
    (["start", "hello", "--dry-run", "maybe"], "use client"),
    (["start", "hello", "--timeout", "soon"], '"soon" is not a valid duration'),
    (["list", "--since", "yesterday"], '"yesterday" is not a valid time'),
    (["list", "--status", "done"], '"done" is not a valid status; use pending'),
    (["list", "--server", "example.com"], '"example.com" is not a valid URL'),
    (["list", "--server", "http://x", "-n", "team"], "use one or the other"),
    (["list", "--color", "blue"], "use auto, always or never"),
    (["list", "-n", "Team_A"], '"Team_A" is not a valid name for a namespace'),
    (["logs", "x", "--grep", "("], "is not a valid regular expression"),
    (["logs", "x", "--raw", "--grep", "a"], "--raw prints the log unchanged"),
    (["logs", "x", "--level", "loud"], '"loud" is not a valid level'),
    (["logs", "x", "--format", "xml"], "use pretty or jsonl"),
    (["wait", "x", "--for", "done"], "write phase=STATUS"),
    (["cancel", "x", "-j", "hello"], "give either the names of the runs to cancel or"),
    (["diff"], "Missing argument"),
    (["diff", "a", "--log"], "name two runs to compare"),
    (["diff", "a", "b", "--spec", "--log"], "use only one of --spec, --result and --log"),
    (["stats", "--by", "week"], '"week" is not a valid grouping; use job-type'),
    (["completion", "csh"], '"csh" is not a supported shell'),
    (["help", "nothing"], '"nothing" is not a command'),
    (["config", "set", "token", "x"], "a token on the command line is visible to every process"),
    (["list", "-l", "team>1"], '"team>1" is not a valid label selector; use key=value'),
    (["cancel", "-l", "team=a/b"], '"a/b" is not a valid label value'),
    (
        ["list", "--sort", "price"],
        '"price" is not a valid sort order; use created, started, finished, duration, tokens, cost',
    ),
    (["start", "hello", "--label", "team"], '"team" is not a valid label; write KEY=VALUE'),
    (
        ["start", "hello", "--label", "codexrun.dev/run=x"],
        "keys with the prefix codexrun.dev/ are reserved for codexrun",
    ),
    (["config", "set", "colour", "x"], '"colour" is not a valid setting'),
    (["edit", "x", "--priority", "high"], "'--priority': must be a whole number"),
    (["edit", "x", "--priority", "5000"], "'--priority': must be at most 1000"),
    (["list", "--limit", "0"], "must be at least 1"),
    (["nothing"], "No such command"),
]


@pytest.mark.parametrize(("command", "said"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_usage(stand: Stand, command: list[str], said: str) -> None:
    done = stand.cli(*command)
    assert (done.code, done.out) == (Code.USAGE, "")
    assert said in re.sub(r"\s+", " ", done.err)


def test_a_fault_of_ours_is_words_too(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codexrun_cli.transports.rest.transport.Rest.job_types", lambda _: 1 / 0)
    done = stand.cli("jobtypes", "list")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("codexrun: internal error: ZeroDivisionError")
    assert "Traceback" not in done.err


def test_statuses_of_http_have_exit_codes() -> None:
    assert [code_of(status, "") for status in (401, 403, 404, 409, 422, 429, 500, 502, 503)] == [
        4,
        4,
        5,
        6,
        1,
        1,
        1,
        7,
        7,
    ]


def test_a_connection_that_is_cut_before_its_answer(stand: Stand) -> None:
    """A server that takes the request and goes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drop() -> None:
            for _ in range(4):
                server.accept()[0].close()

        threading.Thread(target=drop, daemon=True).start()
        done = stand.cli(
            "list", env={"CODEX_CONTROL_URL": f"http://127.0.0.1:{server.getsockname()[1]}"}
        )
    assert done.code == Code.UNREACHABLE
    assert "is not responding" in done.err

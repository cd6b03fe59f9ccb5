"""Following loses and doubles no line, whatever happens to the connection, the api's process or the
kubelet's log."""

import asyncio
import json
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_process import ApiProcess, running
from clistand import LOG, Done, Stand, command, event
from cutting import CuttingProxy
from hypothesis import given
from hypothesis import settings as rounds
from hypothesis import strategies as st

from codexrun_api.archive.archive import Archive
from codexrun_cli.follow import lines
from codexrun_cli.follow.lines import Reader
from codexrun_cli.follow.log_printer import Printer
from codexrun_cli.transports import LogEvent, LogRange
from codexrun_cli.transports.cluster import pod_logs
from codexrun_core.errors import NotFound, Refused, Unavailable

PATIENCE = 60
BEGAN = "2026-01-31T12:00:00Z"


def numbered(count: int) -> list[bytes]:
    said = [{"id": f"i{n}", "type": "agent_message", "text": f"line {n} ☃"} for n in range(count)]
    return [event(type="item.completed", item=item) for item in said]


def started(stand: Stand, *arguments: str, port: int | None = None) -> subprocess.Popen[bytes]:
    env = {**stand.env, **({"CODEX_CONTROL_URL": f"http://127.0.0.1:{port}"} if port else {})}
    return subprocess.Popen(
        [*command(), *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_proxy_that_cuts(stand: Stand, seed: int) -> None:
    name = stand.start()
    text = stand.log(name, *numbered(100))
    stand.end(name)
    proxy = CuttingProxy(stand.port, seed)
    done = ended(started(stand, "logs", "-f", "--raw", name, port=proxy.port))
    proxy.close()
    assert done.code == 0
    assert done.out.encode() == text
    assert proxy.cuts > 3
    assert "connection lost, reconnecting...\n" in done.err


def test_a_proxy_that_cuts_while_the_run_goes_on(stand: Stand) -> None:
    name = stand.start()
    proxy = CuttingProxy(stand.port, 5)
    process = started(stand, "logs", "-f", "--raw", name, port=proxy.port)
    text = b""
    for line in numbered(40):
        text += stand.log(name, line, sealed=False)
    text += stand.log(name, numbered(1)[0])
    stand.end(name)
    assert ended(process).out.encode() == text
    proxy.close()


class LoggingApi(ApiProcess):
    """An api that has one run, whose log this process appends to and closes."""

    def __init__(self, folder: Path) -> None:
        self.run_id = str(uuid.uuid4())
        self.archive = Archive(folder / "archive")
        self.archive.open()
        self.text = b""
        super().__init__(folder, [running("mine", self.run_id)])

    def print(self, *printed: bytes) -> None:
        for line in printed:
            self.archive.append_attempt(self.run_id, 1, len(self.text), line)
            self.text += line

    def end(self) -> None:
        self.archive.seal(self.run_id, 1, complete=True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[LoggingApi]:
    made = LoggingApi(tmp_path / "api")
    yield made
    made.kill()


def read_until(process: subprocess.Popen[bytes], count: int) -> bytes:
    assert process.stdout
    return b"".join(process.stdout.readline() for _ in range(count))


def test_the_api_is_killed_and_stopped_in_the_middle(stand: Stand, api: LoggingApi) -> None:
    printed = numbered(30)
    api.print(*printed[:10])
    process = started(stand, "logs", "-f", "--raw", "mine", port=api.port)
    got = read_until(process, 10)
    api.kill()
    api.print(*printed[10:15])
    api.start()
    got += read_until(process, 5)
    assert api.stop() == 0  # streams are told to come back
    api.print(*printed[15:])
    api.start()
    got += read_until(process, 15)
    api.end()
    done = ended(process)
    assert done.code == 0
    assert got + done.out.encode() == api.text
    assert done.err.count("connection lost, reconnecting...") >= 2


def test_a_followed_start_survives_a_killed_api(stand: Stand, api: LoggingApi) -> None:
    printed = numbered(20)
    api.print(*printed[:10])
    process = started(stand, "tail", "--exit-status", "mine", port=api.port)
    got = read_until(process, 10)
    api.kill()
    api.print(*printed[10:])
    api.end()
    api.start()
    done = ended(process)
    assert (got + done.out.encode()).decode() == "".join(f"line {n} ☃\n" for n in range(20))
    assert done.code == 0


def test_start_follow_shows_all_of_it_and_ends_with_the_message(both: Stand) -> None:
    def play() -> None:
        (name,) = both.until(lambda: both.kube.run_names)
        both.phase(name, "Running", reason="Running", startedAt="2026-01-31T12:00:00Z")
        both.log(name, *LOG)
        both.end(name)

    threading.Thread(target=play, daemon=True).start()
    done = both.cli("start", "hello", "-p", "name=world", "--follow", "--plain")
    assert done.code == 0, done
    assert done.out == "Hello, **world**!\n"
    lines = done.err.splitlines()
    for expected in (
        "turn 1",
        "$ make test",
        "  | 1 failed",
        "  exit 2",
        "~ update a.py",
        "Hello, **world**!",
    ):
        assert lines.count(expected) == 1, expected
    assert lines[-1].endswith(": succeeded, after 30s, 120 tokens, $0.0042")


@pytest.mark.parametrize("mode", ["--wait", "--watch", "--follow"])
def test_a_run_that_fails_makes_the_start_fail(both: Stand, mode: str) -> None:
    def play() -> None:
        (name,) = both.until(lambda: both.kube.run_names)
        both.log(name, *LOG)
        both.end(
            name,
            "Failed",
            failure={"class": "agent_error", "message": "it broke", "retryable": False},
        )

    threading.Thread(target=play, daemon=True).start()
    done = both.cli("start", "hello", "-p", "name=world", mode)
    assert (done.code, done.out) == (1, "")
    assert "agent_error: it broke" in done.err
    assert "next: codexrun logs " in done.err


def test_a_follow_that_takes_too_long_leaves_the_run_alone(both: Stand) -> None:
    done = both.cli("start", "hello", "-p", "name=world", "--follow", "--timeout", "0.5")
    assert (done.code, done.out) == (124, "")
    assert "and continues. To stop it: codexrun cancel " in done.err


def test_cancel_wait_returns_when_it_is_over(both: Stand) -> None:
    name = both.start()

    def play() -> None:
        both.until(lambda: "cancel" in both.kube.run(name)["spec"])
        both.phase(name, "Stopping", reason="CancelRequested", message="")
        both.end(name, "Cancelled", message="Cancelled by ada: wrong branch")

    threading.Thread(target=play, daemon=True).start()
    done = both.cli("cancel", name, "--wait", "--reason", "wrong branch")
    assert (done.code, done.out) == (0, f"{name} cancelled\n")
    assert re.search(
        rf"^{name}: cancelled after \d+s, Cancelled by ada: wrong branch$", done.err, re.M
    )


def test_a_cancel_that_comes_too_late_says_so(both: Stand) -> None:
    name = both.start()

    def play() -> None:
        both.until(lambda: "cancel" in both.kube.run(name)["spec"])
        both.end(name)

    threading.Thread(target=play, daemon=True).start()
    done = both.cli("cancel", name, "--wait")
    assert (done.code, done.out) == (0, f"{name} ended first (succeeded)\n")


def test_tail_follows_all_that_run_each_with_its_name(
    both: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = []
    real = Printer.print

    def print_event(self: Printer, *arguments: Any) -> None:
        real(self, *arguments)
        printed.append(arguments)

    def end_both() -> None:
        both.until(lambda: len(printed) == 2)
        both.end("first")
        both.end("second")

    monkeypatch.setattr(Printer, "print", print_event)
    for name, said in (("first", "alpha"), ("second", "beta")):
        both.start("--name", name)
        both.log(
            name,
            event(type="item.completed", item={"id": "i", "type": "agent_message", "text": said}),
        )
    threading.Thread(target=end_both, daemon=True).start()
    done = both.cli("tail")
    assert sorted(done.out.splitlines()) == ["first alpha", "second beta"]
    both.until(lambda: both.cli("tail").err == "no run is starting, running or stopping\n")


# -- a pod's log, from a kubelet that resumes by whole seconds only
# ---------------------------------


class Kubelet:
    """Gives its lines since a second, and breaks off after so many bytes."""

    pods = "/pods"
    runs = "/runs"

    def __init__(self, entries: list[tuple[str, bytes]], cuts: list[int]) -> None:
        self.entries = entries
        self.cuts = cuts

    async def pages(self, path: str, **_: str) -> Any:
        terminated = {"containerStatuses": [{"name": "agent", "state": {"terminated": {}}}]}
        yield {
            "items": [{"metadata": {"name": "pod", "creationTimestamp": "x"}, "status": terminated}]
        }

    async def stream(self, path: str, *, silence: float) -> Any:
        since = re.search(r"sinceTime=([^&]*)", path)
        wanted = since[1].replace("%3A", ":") if since else ""
        text = b"".join(
            f"{stamp} ".encode() + line + b"\n"
            for stamp, line in self.entries
            if stamp[:19] >= wanted[:19]
        )
        if self.cuts:
            yield text[: self.cuts.pop(0)]
            raise Unavailable("cut")
        yield text


async def followed(kubelet: Any, over: bool = True) -> list[LogEvent]:
    async def ended() -> bool:
        return over

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    return [heard async for heard in pod_logs.follow(kubelet, "uid", LogRange(), ended, at_once)]


def stamps(steps: list[int]) -> list[str]:
    """Times of the kubelet: some lines have the very same one, zeros at the end are left out."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = []
    for step in steps:
        now += timedelta(milliseconds=step * 100)
        fraction = f"{now.microsecond:06d}000".rstrip("0")
        found.append(now.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z")
    return found


@given(st.lists(st.integers(0, 12), max_size=30), st.lists(st.integers(0, 900), max_size=8))
@rounds(max_examples=200, deadline=None)
def test_a_kubelets_log_comes_whole_through_any_cuts(steps: list[int], cuts: list[int]) -> None:
    entries = [(stamp, f"line {n}".encode()) for n, stamp in enumerate(stamps(steps))]
    heard = asyncio.run(followed(Kubelet(entries, list(cuts))))
    assert [one.text for one in heard if one.kind == "line"] == [line for _, line in entries]
    assert heard[-1] == LogEvent("end")


def test_a_node_in_another_time_zone() -> None:
    assert pod_logs._utc("2026-01-31T14:00:00.5+02:00") == ("2026-01-31T12:00:00", "500000000")
    assert pod_logs._utc("2026-01-31T12:00:00Z") < pod_logs._utc("2026-01-31T12:00:00.000000001Z")


async def test_a_container_that_has_not_started_is_waited_for() -> None:
    answers: list[Exception | None] = [
        Refused(400, "BadRequest", "waiting to start"),
        NotFound(404, "NotFound", "gone"),
        None,
    ]

    class Slow(Kubelet):
        async def stream(self, path: str, *, silence: float) -> Any:
            if (error := answers.pop(0)) is not None:
                raise error
            yield b"2026-01-31T12:00:00Z hello\n"

    heard = await followed(Slow([], []), over=False)
    assert [one.text for one in heard if one.kind == "line"] == [b"hello"]


# -- words
# ------------------------------------------------------------------------------------------


def said(*entries: Any) -> list[str]:
    reader = Reader()
    return [one.plain() for entry in entries for one in reader.read(json.dumps(entry).encode())]


def item(kind: str, step: str = "completed", **about: Any) -> dict[str, Any]:
    return {
        "src": "codex",
        "event": {"type": f"item.{step}", "item": {"id": "i1", "type": kind, **about}},
    }


WORDS = [
    (item("agent_message", text="one\ntwo"), ["one", "two"]),
    (item("reasoning", text="thinking"), ["  thinking"]),
    (
        item("command_execution", "started", command="/bin/bash -lc 'echo '\\''hi'\\'''"),
        ["$ echo 'hi'"],
    ),
    (
        item("command_execution", command="ls", exit_code=0, aggregated_output="a\nb\n"),
        ["$ ls", "  | a", "  | b", "  exit 0"],
    ),
    (
        item("command_execution", command="x", exit_code=None, status="declined"),
        ["$ x", "  declined"],
    ),
    (
        item(
            "file_change", changes=[{"path": "a", "kind": "add"}, {"path": "b", "kind": "delete"}]
        ),
        ["± add a", "± delete b"],
    ),
    (item("mcp_tool_call", "started", server="s", tool="t", arguments={"a": 1}), ['$ s.t {"a":1}']),
    (item("mcp_tool_call", server="s", tool="t", error={"message": "no"}), ["  s.t: no"]),
    (
        item("todo_list", "updated", items=[{"text": "a", "completed": True}, {"text": "b"}]),
        ["  [x] a", "  [ ] b"],
    ),
    (item("web_search", query="q"), ["$ search: q"]),
    (item("error", message="careful"), ["careful"]),
    (item("brand_new", x=1), ['{"id":"i1","type":"brand_new","x":1}']),
    (
        {"src": "codex", "event": {"type": "turn.failed", "error": {"message": "m"}}},
        ["  turn failed: m"],
    ),
    ({"src": "codex", "event": {"type": "surprise"}}, ['{"type":"surprise"}']),
    (
        {"src": "codex", "event": {"type": "error", "message": "Reconnecting... 1/5"}},
        ["Reconnecting... 1/5"],
    ),
    ({"src": "stderr", "text": "warn"}, ["  warn"]),
    (
        {"src": "runner", "text": "codex.stopping", "reason": "timeout"},
        ["  codex.stopping: timeout"],
    ),
    (
        {"src": "runner", "text": "runner.broken", "status": "failed", "reason": "x"},
        ["  runner.broken: x"],
    ),
    ({"something": "else"}, ['{"something":"else"}']),
]


@pytest.mark.parametrize(("entry", "words"), WORDS, ids=[json.dumps(row[0])[:60] for row in WORDS])
def test_words_of_a_line(entry: Any, words: list[str]) -> None:
    assert said(entry) == words


def test_text_that_is_no_json_stays() -> None:
    assert [one.text for one in Reader().read(b"plain \xff text")] == ["plain \ufffd text"]
    assert Reader().read(b"") == []


def test_a_command_is_named_once() -> None:
    begun = item("command_execution", "started", command="ls")
    done = item("command_execution", command="ls", exit_code=1, aggregated_output="")
    assert said(begun, done) == ["$ ls", "  exit 1"]


def test_long_output_is_shortened_and_says_so() -> None:
    output = "\n".join(map(str, range(100)))
    shown = said(item("command_execution", command="seq", exit_code=0, aggregated_output=output))
    assert shown[1] == "  | ... 90 earlier lines hidden; `codexrun logs --raw` shows all"
    assert shown[-2] == "  | 99"


def test_an_agent_cannot_move_the_cursor() -> None:
    (one,) = Reader().read(json.dumps(item("agent_message", text="\x1b[2Jgone\x07\u202e")).encode())
    assert one.text == "gone"


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    for one in Reader().read(data):
        assert lines.clean(one.text) == one.text


def test_levels() -> None:
    names: tuple[lines.Kind, ...] = ("bad", "warn", "say", "dim")
    kinds = {kind: lines.DisplayLine(kind, "x") for kind in names}

    def shown(level: str | None) -> set[str]:
        return {kind for kind, one in kinds.items() if lines.reaches_level(one, level)}

    assert shown("error") == {"bad"}
    assert shown("warning") == {"bad", "warn"}
    assert shown("info") == {"bad", "warn", "say"}
    assert shown("debug") == shown(None) == {"bad", "warn", "say", "dim"}

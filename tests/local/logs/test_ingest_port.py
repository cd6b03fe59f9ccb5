"""The ingest port over an archive on disk: offsets, limits, ends, partial uploads, and what stays
shut."""

import threading
from datetime import UTC, datetime

import httpx
import pytest
from artifacts import store_artifact

from codexrun_api.archive.volume import Volume
from codexrun_api.archive.whole_file import WholeFile
from codexrun_api.logs import ingest
from codexrun_api.logs.gate_identity import GateIdentity
from codexrun_api.logs.ingest import CUT, create_ingest_app
from codexrun_api.logs.token_claims import NotAGate
from codexrun_core.errors import Unavailable
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.resume import (
    NOTHING_STORED,
    UID_REQUIRED,
    UNKNOWN_SOURCE,
    resume_problem,
    setup_of,
)
from codexrun_pod.gate.logs.ingest_client import DECLINED_STATUSES

RUN = "11111111-2222-3333-4444-555555555555"
OLD = "99999999-2222-3333-4444-555555555555"
GATES = {
    "one": GateIdentity(RUN, 1, "p"),
    "two": GateIdentity(RUN, 2, "q"),
    "again": GateIdentity(RUN, 3, "r", resumes=OLD),
}


class Row:
    """What the registry was told; `down`: it is away."""

    def __init__(self):
        self.usage = []
        self.log = []
        self.down = False
        self.records = {}
        self.removed = set()

    async def on_usage(self, run_id, usage, waiting_until):
        self.usage.append((run_id, usage))
        self.waiting_until = waiting_until

    async def on_log(self, *about):
        if self.down:
            raise Unavailable("the registry is away")
        self.log.append(about)

    async def find_run(self, run_id):
        if self.down:
            raise Unavailable("the registry is away")
        return self.records.get(run_id)

    async def is_removed(self, run_id):
        if self.down:
            raise Unavailable("the registry is away")
        return run_id in self.removed


async def authenticate(token, _peer):
    if token in GATES:
        return GATES[token]
    raise NotAGate(401 if token != "other" else 403, "no gate of ours")


@pytest.fixture
def row():
    return Row()


@pytest.fixture
def app(archive, row):
    return create_ingest_app(
        archive,
        authenticate,
        row.on_usage,
        row.on_log,
        find_run=row.find_run,
        is_removed=row.is_removed,
    )


@pytest.fixture
async def gate(app):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://api"
    ) as client:
        client.headers["Authorization"] = "Bearer one"
        yield client


async def post(gate, offset, data, **query):
    answer = await gate.post("/ingest/log", params={"offset": offset, **query}, content=data)
    return answer.status_code, answer.json()


async def test_the_answer_is_where_to_go_on(gate, archive):
    assert await post(gate, 0, b"") == (200, {"size": 0, "ended": False})
    assert await post(gate, 0, b"one\n") == (200, {"size": 4, "ended": False})
    assert await post(gate, 0, b"one\n") == (200, {"size": 4, "ended": False})
    assert await post(gate, 99, b"far\n") == (200, {"size": 4, "ended": False})
    assert archive.read(RUN, 0, 100) == b"one\n"


async def test_the_end_closes_log_and_row(gate, archive, row):
    await post(gate, 0, b"one\n")
    assert await post(gate, 3, b"", end="complete") == (200, {"size": 4, "ended": False})
    assert await post(gate, 4, b"", end="complete") == (200, {"size": 4, "ended": True})
    assert await post(gate, 4, b"late\n") == (200, {"size": 4, "ended": True})
    assert row.log[-1] == (RUN, f"runs/{RUN}/logs.txt", 4, True, None)
    assert archive.read(RUN, 0, 100) == b"one\n"


async def test_a_log_that_was_cut_off_says_so_in_log_and_row(gate, archive, row):
    await post(gate, 0, b"half a li")
    assert (await post(gate, 9, b"", end="cut"))[1]["ended"]
    text = archive.read(RUN, 0, 1000)
    assert text.startswith(b'half a li\n{"ts":')
    assert CUT.encode() in text
    assert row.log[-1][2:] == (len(text), False, CUT)


async def test_a_registry_that_is_away_at_the_end_is_told_when_the_gate_comes_again(
    gate, archive, row
):
    row.down = True
    assert (await post(gate, 0, b"one\n"))[0] == 200
    assert (await post(gate, 4, b"", end="cut"))[0] == 503
    row.down = False
    assert (await post(gate, 4, b"", end="cut"))[0] == 200
    assert archive.read(RUN, 0, 1000).count(b"log.cut_off") == 1
    assert row.log == [(RUN, f"runs/{RUN}/logs.txt", archive.size(RUN), False, CUT)]


async def test_nothing_is_kept_of_a_run_that_was_removed(gate, archive, row):
    """A gate gives up at a 404. While nobody can say, its piece is taken: it may be the first."""
    await post(gate, 0, b"one\n")
    archive.remove(RUN)
    row.removed.add(RUN)
    for answer in (
        await gate.post("/ingest/log", params={"offset": 4}, content=b"late\n"),
        await gate.post("/ingest/log", params={"offset": 4, "end": "complete"}),
        await gate.put("/ingest/artifacts/final-message.md", content=b"late"),
    ):
        assert (answer.status_code, "was removed" in answer.json()["error"]) == (404, True)
    assert not archive.holds(RUN)
    row.down = True
    assert (await post(gate, 0, b"one\n"))[0] == 200


async def test_an_attempt_that_is_over_writes_no_more(gate, archive):
    await post(gate, 0, b"one\n")
    gate.headers["Authorization"] = "Bearer two"
    assert await post(gate, 0, b"two\n") == (200, {"size": 4, "ended": False})
    gate.headers["Authorization"] = "Bearer one"
    assert (await post(gate, 4, b"late\n"))[0] == 409
    assert archive.read(RUN, 0, 100) == b"one\ntwo\n"


@pytest.mark.parametrize(
    "query",
    [{}, {"offset": "-1"}, {"offset": "x"}, {"offset": "1" * 13}, {"offset": "٣"}, {"end": "yes"}],
)
async def test_offsets_that_are_none(gate, query):
    query = {"offset": "0", **query} if "end" in query else query
    assert (await gate.post("/ingest/log", params=query, content=b"x")).status_code == 400


async def test_limits(gate):
    assert (await post(gate, 0, b"x" * (1024 * 1024 + 1)))[0] == 413
    assert (await post(gate, 64 * 1024 * 1024, b"x"))[0] == 413
    assert (await gate.post("/ingest/usage", content=b" " * 20_000)).status_code == 413
    assert (
        await gate.put("/ingest/artifacts/final-message.md", content=b"x" * (1024 * 1024 + 1))
    ).status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ingest/log?offset=0"),
        ("POST", "/ingest/usage"),
        ("PUT", "/ingest/artifacts/rollout.jsonl"),
        ("GET", "/ingest/rollout"),
    ],
)
@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Basic one", 401),
        ("Bearer", 401),
        ("Bearer stranger", 401),
        ("Bearer other", 403),
    ],
)
async def test_every_route_asks_who_is_there(gate, archive, method, path, authorization, status):
    del gate.headers["Authorization"]
    headers = {} if authorization is None else {"Authorization": authorization}
    assert (
        await gate.request(
            method, path, headers=headers, content=b"{}" if method != "GET" else None
        )
    ).status_code == status
    assert archive.size(RUN) == 0
    assert archive.list_artifacts(RUN) == []


async def test_nothing_of_the_public_port_is_here(gate):
    for path in ("/runs", "/healthz", "/metrics", "/openapi.json", f"/runs/{RUN}/logs"):
        assert (await gate.get(path)).status_code == 404


@pytest.mark.parametrize(
    "name",
    [
        "other.txt",
        "logs.txt",
        "..",
        "%2e%2e%2flogs.txt",
        "..%2Flogs.txt",
        "a%2Fb",
        "rollout.jsonl%00",
        ".rollout.jsonl",
    ],
)
async def test_artifact_names_are_a_short_list(gate, archive, tmp_path, name):
    assert (await gate.put(f"/ingest/artifacts/{name}", content=b"x")).status_code in (404, 405)
    assert archive.list_artifacts(RUN) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_artifacts_are_replaced_whole(gate, archive):
    for text in (b"one", b"two"):
        assert (
            await gate.put("/ingest/artifacts/final-message.md", content=text)
        ).status_code == 200
    assert archive.artifact(RUN, "final-message.md").read_bytes() == b"two"


async def test_a_partial_upload_leaves_nothing(app, archive, tmp_path):
    messages = iter(
        [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    path = "/ingest/artifacts/workspace.patch"
    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", b"Bearer one")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("api", 80),
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert archive.list_artifacts(RUN) == []
    assert list((tmp_path / "archive/partial").iterdir()) == []


async def test_usage_goes_to_the_row_with_cents_rounded_up(gate, row):
    usage = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 15,
        "costMicroUSD": 10_001,
        "requests": 2,
        "complete": True,
    }
    assert (await gate.post("/ingest/usage", json=usage)).status_code == 200
    ((run_id, told),) = row.usage
    assert (run_id, told.total_tokens, told.requests, told.cost_cents) == (RUN, 15, 2, 2)
    assert row.waiting_until is None


async def test_until_when_a_run_waits_goes_to_the_row(gate, row):
    usage = {"totalTokens": 15, "requests": 2, "waitingUntil": "2026-11-24T12:00:20.500+00:00"}
    assert (await gate.post("/ingest/usage", json=usage)).status_code == 200
    assert row.waiting_until == datetime(2026, 11, 24, 12, 0, 20, 500_000, tzinfo=UTC)
    usage = {"totalTokens": 15, "requests": 3, "waitingUntil": "soon"}
    assert (await gate.post("/ingest/usage", json=usage)).status_code == 422


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b'{"inputTokens": -1}', b'{"inputTokens": "many"}']
)
async def test_what_is_no_usage(gate, row, body):
    assert (await gate.post("/ingest/usage", content=body)).status_code == 422
    assert row.usage == []


def record(run_id, **about):
    """Return the row of a run that was admitted."""
    given = {
        "job_type": "deploy",
        "status": "failed",
        "prompt_sha256": "a" * 64,
        "model": "gpt-5.5",
        "spec": {"workspace": {"git": {"url": "https://git.example/a", "ref": "main"}}},
    }
    now = datetime(2026, 1, 31, tzinfo=UTC)
    times = {"created_at": now, "updated_at": now}
    return RunRecord(run_id=run_id, name="r", namespace="codexrun", **times, **given | about)


@pytest.fixture
def resumed(gate, archive, row):
    """A gate whose run resumes OLD, of the same setup; both have a rollout."""
    for run_id in (OLD, RUN):
        store_artifact(archive, run_id, "rollout.jsonl", run_id.encode())
        row.records[run_id] = record(run_id)
    gate.headers["Authorization"] = "Bearer again"
    return gate


async def test_only_a_run_that_resumes_reads_a_rollout_and_only_that_one(resumed, archive):
    assert (await resumed.get("/ingest/rollout")).text == OLD
    archive.remove(OLD)
    answer = await resumed.get("/ingest/rollout")
    assert (answer.status_code, answer.json()) == (404, {"error": NOTHING_STORED})
    resumed.headers["Authorization"] = "Bearer one"
    answer = await resumed.get("/ingest/rollout")
    assert (answer.status_code, answer.json()) == (409, {"error": UID_REQUIRED})


@pytest.mark.parametrize(
    "about",
    [
        {"job_type": "fix-failing-test"},
        {"prompt_sha256": "b" * 64},
        {"prompt_sha256": None},
        {"model": "gpt-5.5-mini"},
        {"model": None},
        {"spec": {}},
        {"spec": {"workspace": {"git": {"url": "https://git.example/b", "ref": "main"}}}},
        {"spec": {"workspace": {"git": {"url": "https://git.example/a", "ref": "evil"}}}},
        {"spec": {"workspace": {"git": {"url": "https://git.example/a"}}}},
        {"spec": {"workspace": "no workspace"}},
    ],
)
@pytest.mark.parametrize("of", [OLD, RUN])
async def test_the_rollout_of_another_setup_is_never_given(resumed, row, of, about):
    row.records[of] = record(of, **about)
    answer = await resumed.get("/ingest/rollout")
    assert OLD not in answer.text
    if of == RUN and about == {"prompt_sha256": None}:
        assert answer.status_code == 503  # its row is being written
        return
    assert answer.status_code == 409
    problem = resume_problem(setup_of(row.records[RUN]), setup_of(row.records[OLD]))
    assert answer.json() == {"error": problem}


async def test_a_run_of_which_nothing_is_recorded_is_not_resumed(resumed, row):
    del row.records[OLD]
    answer = await resumed.get("/ingest/rollout")
    assert (answer.status_code, answer.json()) == (404, {"error": UNKNOWN_SOURCE})
    del row.records[RUN]
    assert (await resumed.get("/ingest/rollout")).status_code == 503
    row.down = True
    assert (await resumed.get("/ingest/rollout")).status_code == 503


async def test_an_artifact_is_replaced_only_so_often_and_the_last_stays(gate, archive):
    path = "/ingest/artifacts/rollout.jsonl"
    for number in range(ingest.MAX_UPLOADS):
        assert (await gate.put(path, content=b"%d" % number)).status_code == 200
    answer = await gate.put(path, content=b"one more")
    # A status that the gate takes for its last word on this artifact, and goes on with the others.
    assert answer.status_code in DECLINED_STATUSES
    assert "20 times" in answer.json()["error"]
    assert archive.artifact(RUN, "rollout.jsonl").read_bytes() == b"19"
    assert (await gate.put("/ingest/artifacts/output.json", content=b"{}")).status_code == 200
    gate.headers["Authorization"] = "Bearer two"
    assert (await gate.put(path, content=b"x")).status_code == 409, "the run's, not the attempt's"


@pytest.fixture
def full(archive, monkeypatch):
    """The archive's volume has no room but the registry's."""
    monkeypatch.setattr(archive, "_measure", lambda _: Volume(1024**3, 0))


async def test_a_full_volume_is_told_in_a_way_that_the_gate_comes_again(
    gate, archive, full, tmp_path, caplog
):
    for _ in range(3):
        code, answer = await post(gate, 0, b"one\n")
        assert code == 507
        assert code not in DECLINED_STATUSES
        assert "codexrun cleanup" in answer["error"]
    for _ in range(ingest.MAX_UPLOADS + 1):  # what was not stored does not count
        assert (await gate.put("/ingest/artifacts/output.json", content=b"{}")).status_code == 507
    assert archive.list_artifacts(RUN) == []
    assert list((tmp_path / "archive/partial").iterdir()) == []
    assert [each.getMessage() for each in caplog.records].count("archive.full") == 1
    assert (await gate.post("/ingest/usage", json={"requests": 1})).status_code == 200
    assert await post(gate, 0, b"", end="cut") == (200, {"size": 0, "ended": True})


async def test_no_step_of_an_upload_waits_for_the_disk_in_the_event_loop(gate, monkeypatch):
    here = threading.get_ident()
    threads = {}

    def noted(name, step):
        def call(*arguments):
            threads[name] = threading.get_ident()
            return step(*arguments)

        return call

    for name in ("__init__", "write", "commit", "close"):
        monkeypatch.setattr(WholeFile, name, noted(name, getattr(WholeFile, name)))
    assert (await gate.put("/ingest/artifacts/output.json", content=b"{}")).status_code == 200
    assert sorted(threads) == ["__init__", "close", "commit", "write"]
    assert here not in threads.values()

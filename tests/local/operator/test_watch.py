"""List and watch: whatever happens to a stream, every object's last word arrives, and nothing is
told that was not."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_kube import FakeKube
from kubernetes.aio import client

from codexrun_core.errors import Conflict, EtcdRestored, Gone, NotFound, Refused, Unavailable
from codexrun_core.kube import watch
from codexrun_core.kube.client import MAX_PAGE_BYTES, Kube, verb_and_resource
from codexrun_core.kube.watch import RETRY_SECONDS, Watcher

Json = dict[str, Any]


class Stop(Exception):
    """The end of a test's script."""


def item(uid: str, version: int = 1) -> Json:
    return {"metadata": {"name": uid, "uid": uid, "resourceVersion": str(version)}}


def event(kind: str, uid: str, version: int) -> Json:
    return {"type": kind, "object": item(uid, version)}


class Script:
    """A Watcher over scripted streams; `pauses` are the sleeps it asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *streams: list[Any]) -> None:
        self.kube = FakeKube()
        self.kube.streams = [*streams, [Stop()]]
        self.told: list[tuple[str, bool]] = []
        self.pauses: list[float] = []
        self.watcher = Watcher(
            self.kube,
            self.kube.pods,
            lambda it, gone: self.told.append((it["metadata"]["uid"], gone)),
        )

        async def sleep(seconds: float) -> None:
            self.pauses.append(seconds)

        monkeypatch.setattr(watch.asyncio, "sleep", sleep)

    async def play(self) -> None:
        with pytest.raises(Stop):
            await self.watcher.run()

    @property
    def lists(self) -> int:
        return sum("?" in read for read in self.kube.reads)

    @property
    def positions(self) -> list[str]:
        return [read.rpartition("@")[2] for read in self.kube.reads if "@" in read]


async def test_list_then_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(
        monkeypatch,
        [event("ADDED", "b", 101), event("BOOKMARK", "", 120), event("DELETED", "b", 121)],
    )
    script.kube.put("pods", item("a"))
    await script.play()
    assert script.told == [("a", False), ("b", False), ("b", True)]
    assert script.positions == ["100", "121"]
    assert script.watcher.synced.is_set()


async def test_an_ended_stream_goes_on_from_its_last_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, [event("ADDED", "a", 105)], [event("MODIFIED", "a", 106)])
    await script.play()
    assert (script.lists, script.positions) == (1, ["100", "105", "106"])


@pytest.mark.parametrize(
    "trouble", [Unavailable("broken"), Unavailable("silent for 90 s")], ids=str
)
async def test_a_broken_or_silent_stream_goes_on_too(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    script = Script(monkeypatch, [event("ADDED", "a", 105), trouble], [event("MODIFIED", "a", 106)])
    await script.play()
    assert (script.lists, script.positions) == (1, ["100", "105", "106"])
    assert script.pauses == [RETRY_SECONDS[0]]


@pytest.mark.parametrize(
    "error", [Gone(410, "Expired", "too old"), Refused(500, "", "etcd")], ids=str
)
async def test_an_error_in_the_stream_lists_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    script = Script(monkeypatch, [event("ADDED", "a", 105), event("ADDED", "b", 106), error])
    script.kube.put("pods", item("b", 106))
    await script.play()
    assert script.lists == 2
    assert script.told == [("b", False), ("a", False), ("b", False), ("a", True), ("b", False)]


async def test_what_vanished_between_two_lists_is_told_gone_with_its_last_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, [event("MODIFIED", "a", 105), Gone(410, "Expired", "")])
    script.kube.put("pods", item("a"))
    last: list[Json] = []
    script.watcher._on_object = lambda it, gone: (
        last.append(it) if gone else None,
        script.kube.objects.clear(),
    )  # type: ignore[assignment]
    await script.play()
    assert [it["metadata"]["resourceVersion"] for it in last] == ["105"]


async def test_a_list_that_is_older_than_an_event_before_it_ends_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """etcd was restored from a backup: all that was told may be wrong."""
    script = Script(monkeypatch, [event("BOOKMARK", "", 120), Gone(410, "Expired", "")])
    restored = iter((100, 119))

    async def pages(path: str, **selectors: str) -> AsyncIterator[Json]:
        yield {"metadata": {"resourceVersion": str(next(restored))}, "items": []}

    monkeypatch.setattr(script.kube, "pages", pages)
    with pytest.raises(EtcdRestored, match="119"):
        await script.watcher.run()


async def test_whoever_takes_whole_lists_is_told_of_them_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, [event("ADDED", "b", 105), Gone(410, "Expired", "")])
    script.kube.put("pods", item("a"))
    lists: list[tuple[set[str], int]] = []
    script.watcher._on_list = lambda uids, version: lists.append((set(uids), version))
    await script.play()
    assert lists == [({"a"}, 100), ({"a"}, 105)]
    assert script.told == [("a", False), ("b", False), ("a", False)]
    assert script.watcher._objects == {}


async def test_an_apiserver_that_is_away_is_asked_less_and_less_and_then_for_a_new_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(monkeypatch, *[[Unavailable("away")]] * 7)
    await script.play()
    assert script.pauses == [*RETRY_SECONDS, RETRY_SECONDS[-1], RETRY_SECONDS[-1]]
    assert script.lists > 1


async def test_a_stream_that_ends_at_once_is_no_hot_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, *[[]] * 4)
    await script.play()
    assert script.pauses == list(RETRY_SECONDS[1:4])


async def test_a_quiet_watch_without_bookmarks_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server ends it before silence would, and its position does not grow too old."""
    script = Script(monkeypatch, *[[]] * (len(RETRY_SECONDS) + 1))
    script.watcher._bookmarks = False
    queries: list[dict[str, Any]] = []
    play = script.kube.watch

    def watched(path: str, version: str, **query: Any) -> AsyncIterator[Json]:
        queries.append(query)
        return play(path, version, **query)

    monkeypatch.setattr(script.kube, "watch", watched)
    await script.play()
    assert all(int(query["timeoutSeconds"]) < query["silence"] for query in queries)
    assert script.lists == 2
    assert "watch.broken" not in caplog.text


async def test_the_list_itself_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, [event("ADDED", "a", 105)])
    script.kube.fail("list", "/pods", Unavailable("away"))
    script.kube.fail("list", "/pods", Gone(410, "Expired", "continue token"))
    await script.play()
    assert script.told == [("a", False)]
    assert script.lists == 3


async def test_every_end_of_a_watch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(
        monkeypatch,
        [event("ADDED", "a", 2)],
        [Unavailable("broken")],
        [Gone(410, "Expired", "old")],
    )
    ends = []
    script.watcher._restarted = lambda: ends.append(1)
    await script.play()
    assert len(ends) == 3


# -- the calls themselves, over HTTP -------------------------------------------------------------


class Apiserver:
    """Answers what the test puts in; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.lines: list[bytes] = []
        self.asked: list[tuple[str, str, str, Any]] = []
        self.allowed = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append(
            (
                request.method,
                request.path_qs,
                request.headers.get("Content-Type", ""),
                body and json.loads(body),
            )
        )
        if "watch" not in request.query:
            return self.answers.pop(0)
        stream = web.StreamResponse()
        await stream.prepare(request)
        for line in self.lines:
            if line == b"silence":
                await asyncio.Event().wait()
            await stream.write(line + b"\n")
        return stream

    def may_write(self) -> None:
        if not self.allowed:
            raise Unavailable("not the leader")


@pytest.fixture
async def served() -> AsyncIterator[tuple[Kube, Apiserver]]:
    apiserver = Apiserver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", apiserver.answer)
    server = TestServer(app)
    await server.start_server()
    api = client.ApiClient(client.Configuration(host=str(server.make_url("")).rstrip("/")))
    yield Kube(api, "codexrun", apiserver.may_write), apiserver
    await api.close()
    await server.close()


async def follow(kube: Kube, silence: float = 60) -> list[Json]:
    return [
        event async for event in kube.watch(kube.pods, "7", silence=silence, labelSelector="a=b")
    ]


async def test_a_line_may_be_as_long_as_an_object(served: tuple[Kube, Apiserver]) -> None:
    """A ConfigMap may hold a mebibyte, and JSON may take six bytes for one."""
    kube, apiserver = served
    apiserver.lines = [json.dumps({"type": "ADDED", "object": {"data": "\x01" * 2**20}}).encode()]
    (event,) = await follow(kube)
    assert len(event["object"]["data"]) == 2**20
    assert apiserver.asked[0][1].endswith(
        "?watch=1&allowWatchBookmarks=true&resourceVersion=7&labelSelector=a%3Db"
    )


SIZES = [
    ("small ones", [2_000] * 3_000),
    ("large ones", [1_300_000] * 14),
    ("large ones behind small ones", [2_000] * 900 + [1_300_000] * 14 + [2_000] * 300),
    ("ones above the bound by themselves", [100, MAX_PAGE_BYTES + 1, 100]),
    ("none", []),
]


@pytest.mark.parametrize("sizes", [sizes for _, sizes in SIZES], ids=[name for name, _ in SIZES])
async def test_a_page_of_a_list_stays_below_the_bound_whatever_its_objects(
    sizes: list[int],
) -> None:
    api = client.ApiClient(client.Configuration(host="http://nowhere"))
    kube = Kube(api, "codexrun", lambda: None)
    parsed = []

    async def list_(request: web.Request) -> web.Response:
        begin = int(request.query.get("continue", 0))
        limit = int(request.query["limit"])
        items = [
            {"n": begin + n, "x": "x" * size} for n, size in enumerate(sizes[begin : begin + limit])
        ]
        more = {"continue": str(begin + limit)} if begin + limit < len(sizes) else {}
        return web.json_response({"metadata": {"resourceVersion": "7", **more}, "items": items})

    app = web.Application()
    app.router.add_get("/{tail:.*}", list_)
    server = TestServer(app)
    await server.start_server()
    kube.api.configuration.host = str(server.make_url("")).rstrip("/")
    try:
        async for page in kube.pages(kube.runs, labelSelector="a=b"):
            parsed.append([item["n"] for item in page["items"]])
            size = len(json.dumps(page))
            assert size <= MAX_PAGE_BYTES or len(page["items"]) == 1
    finally:
        await api.close()
        await server.close()
    assert [n for page in parsed for n in page] == list(range(len(sizes))), "each once, in order"
    assert len(parsed) <= 20 + 2 * sum(sizes) // MAX_PAGE_BYTES + len(sizes) // 100, (
        "and not one by one"
    )


@pytest.mark.parametrize(("code", "error"), [(410, Gone), (500, Refused)])
async def test_an_error_event_is_an_error(
    served: tuple[Kube, Apiserver], code: int, error: type[Exception]
) -> None:
    kube, apiserver = served
    apiserver.lines = [
        json.dumps({"type": "ERROR", "object": {"code": code, "message": "no"}}).encode()
    ]
    with pytest.raises(error):
        await follow(kube)


@pytest.mark.parametrize("line", [b"{", b"silence"])
async def test_a_torn_or_silent_stream_is_unavailable(
    served: tuple[Kube, Apiserver], line: bytes
) -> None:
    kube, apiserver = served
    apiserver.lines = [line]
    with pytest.raises(Unavailable):
        await follow(kube, silence=0.01)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, Refused),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_refused_or_unavailable(
    served: tuple[Kube, Apiserver], status: int, error: type[Exception]
) -> None:
    kube, apiserver = served
    apiserver.answers = [web.json_response({"reason": "Because", "message": "no"}, status=status)]
    with pytest.raises(error) as caught:
        await kube.create(kube.jobs, {})
    assert type(caught.value) is error
    if isinstance(caught.value, Refused):
        assert (caught.value.status, caught.value.reason, caught.value.message) == (
            status,
            "Because",
            "no",
        )


async def test_a_proxy_s_page_is_a_refusal_too(served: tuple[Kube, Apiserver]) -> None:
    kube, apiserver = served
    apiserver.answers = [web.Response(text="<html>", status=403)]
    with pytest.raises(Refused, match="<html>"):
        await kube.get(kube.jobs)


async def test_an_answer_that_is_no_json_is_unknown(served: tuple[Kube, Apiserver]) -> None:
    kube, apiserver = served
    apiserver.answers = [web.Response(text="{", content_type="application/json")]
    with pytest.raises(Unavailable):
        await kube.get(kube.jobs)


async def test_nobody_there(served: tuple[Kube, Apiserver]) -> None:
    kube, _ = served
    kube.api.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(Unavailable):
        await kube.get(kube.jobs)


async def test_no_write_without_the_lease(served: tuple[Kube, Apiserver]) -> None:
    kube, apiserver = served
    apiserver.allowed = False
    for write in (
        kube.create("/x", {}),
        kube.replace("/x", {}),
        kube.merge("/x", {}),
        kube.strategic("/x", {}),
        kube.delete("/x", uid="u"),
    ):
        with pytest.raises(Unavailable, match="not the leader"):
            await write
    assert apiserver.asked == []


async def test_every_request_is_told_with_verb_resource_and_code(
    served: tuple[Kube, Apiserver],
) -> None:
    plain, apiserver = served
    told: list[tuple[str, str, str]] = []

    def answered(verb: str, resource: str, code: str, seconds: float) -> None:
        told.append((verb, resource, code))

    kube = Kube(plain.api, "codexrun", lambda: None, answered=answered)
    apiserver.answers = [
        web.json_response({}),
        web.json_response({"reason": "Conflict"}, status=409),
    ]
    await kube.merge(f"{kube.runs}/hello/status", {})
    with pytest.raises(Conflict):
        await kube.create(kube.jobs, {})
    await follow(kube)
    kube.api.configuration.host = "http://127.0.0.1:1"
    with pytest.raises(Unavailable):
        await kube.delete(f"{kube.jobs}/j", uid="u")
    assert told == [
        ("patch", "codexruns", "200"),
        ("create", "jobs", "409"),
        ("watch", "pods", "200"),
        ("delete", "jobs", "none"),
    ]


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/api/v1/namespaces/watch/pods?limit=500", ("list", "pods")),
        ("GET", "/api/v1/namespaces/watch/pods/namespaces", ("get", "pods")),
        ("GET", "/apis/batch/v1/namespaces/n/jobs?watch=1&resourceVersion=1", ("watch", "jobs")),
        (
            "PATCH",
            "/apis/codexrun.dev/v1alpha1/namespaces/n/codexruns/r/status",
            ("patch", "codexruns"),
        ),
        (
            "PUT",
            "/apis/codexrun.dev/v1alpha1/namespaces/n/codexruns/r/status",
            ("update", "codexruns"),
        ),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", ("create", "tokenreviews")),
    ],
)
def test_a_request_is_named_as_rbac_names_it(
    method: str, path: str, named: tuple[str, str]
) -> None:
    assert verb_and_resource(method, path) == named


async def test_a_deletion_says_uid_and_propagation(served: tuple[Kube, Apiserver]) -> None:
    kube, apiserver = served
    apiserver.answers = [web.json_response({})]
    await kube.delete(f"{kube.jobs}/j", uid="u")
    assert apiserver.asked[0][3] == {
        "preconditions": {"uid": "u"},
        "propagationPolicy": "Background",
    }


async def test_pages(served: tuple[Kube, Apiserver]) -> None:
    kube, apiserver = served
    apiserver.answers = [
        web.json_response({"metadata": {"continue": "c"}}),
        web.json_response({"metadata": {}}),
    ]
    assert len([page async for page in kube.pages(kube.pods, labelSelector="a=b")]) == 2
    assert [asked[1].partition("?")[2] for asked in apiserver.asked] == [
        "limit=100&labelSelector=a%3Db",
        "limit=100&labelSelector=a%3Db&continue=c",
    ]


async def test_a_first_list_is_told_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a page of large objects is held."""
    script = Script(monkeypatch)

    async def pages(path: str, **selectors: str) -> AsyncIterator[Json]:
        for uid in ("a", "b"):
            yield {"metadata": {"resourceVersion": "100"}, "items": [item(uid)]}
            assert script.told[-1] == (uid, False)

    monkeypatch.setattr(script.kube, "pages", pages)
    await script.play()
    assert script.told == [("a", False), ("b", False)]

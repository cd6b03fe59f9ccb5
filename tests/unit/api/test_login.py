"""Logging in and out of the console: guesses are throttled, a session that was ended stays so, and
no other site sends the form."""

from pathlib import Path

import httpx
import pytest
from apistand import TOKEN, Stand, csrf_of

from codexrun_api import services as services_module
from codexrun_api.console import sessions
from codexrun_api.http import ended_sessions
from codexrun_api.http.ended_sessions import EndedSessions
from codexrun_api.http.throttle import MAX_KEYS, Throttle


def visitor(stand: Stand, address: str = "10.0.0.1") -> httpx.AsyncClient:
    """A browser at that address."""
    transport = httpx.ASGITransport(app=stand.app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://api")


async def log_in(http: httpx.AsyncClient, token: str = TOKEN, **headers: str) -> httpx.Response:
    return await http.post("/console/login", data={"token": token}, headers=headers)


async def log_out(http: httpx.AsyncClient) -> None:
    answer = await http.post("/console/logout", data={"csrf": await csrf_of(http)})
    assert answer.status_code == 303


async def test_guesses_of_one_address_are_throttled_and_a_right_one_tells_nothing_then(
    stand: Stand,
) -> None:
    async with visitor(stand) as http, visitor(stand, "10.0.0.2") as other:
        for number in range(services_module.LOGINS):
            assert (await log_in(http, f"guess {number}")).status_code == 401
        for token in ("another guess", TOKEN):
            answer = await log_in(http, token)
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= services_module.LOGIN_SECONDS
            assert sessions.COOKIE not in answer.cookies
        assert (await log_in(other)).status_code == 303


async def test_logging_in_often_is_no_failure(stand: Stand) -> None:
    async with visitor(stand) as http:
        for _ in range(3 * services_module.LOGINS):
            assert (await log_in(http)).status_code == 303


async def test_a_session_that_was_ended_is_nobodys_also_after_a_restart(stand: Stand) -> None:
    async with visitor(stand) as http, visitor(stand) as second:
        await log_in(http)
        await log_in(second)
        cookie = http.cookies[sessions.COOKIE]
        await log_out(http)
        async with visitor(stand) as thief:
            thief.cookies.set(sessions.COOKIE, cookie, domain="api", path="/console")
            assert (await thief.get("/console/runs")).status_code == 303
            stand.services.ended_sessions = EndedSessions(stand.services.settings.archive)
            assert (await thief.get("/console/runs")).status_code == 303
        assert (await second.get("/console/runs")).status_code == 200, "another session goes on"
        file = stand.services.settings.archive / ended_sessions.FILE
        assert cookie.rpartition(".")[2] not in file.read_text(), "no signature is stored"


def test_ended_sessions_are_forgotten_when_they_would_be_over(tmp_path: Path) -> None:
    ended = EndedSessions(tmp_path)
    ended.add("100.aa", 10.0)
    ended.add("50.bb", 10.0)
    ended.add("200.cc", 60.0)
    assert EndedSessions(tmp_path)._read().keys() == {"100.aa", "200.cc"}


@pytest.mark.parametrize("content", [b"", b"\xff", b"nonsense\n.\n9" + b"9" * 100])
def test_a_broken_file_of_ended_sessions_ends_nothing_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ended_sessions.FILE).write_bytes(content)
    ended = EndedSessions(tmp_path)
    assert "100.aa" not in ended
    ended.add("100.aa", 10.0)
    assert "100.aa" in EndedSessions(tmp_path)


def test_a_disk_that_fails_once_opens_no_ended_session_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    EndedSessions(tmp_path).add("100.aa", 10.0)
    ended = EndedSessions(tmp_path)

    def fail(*_: object, **__: object) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_text", fail)
        assert "200.bb" not in ended
    assert "100.aa" in ended
    ended.add("200.bb", 10.0)
    assert EndedSessions(tmp_path)._read().keys() == {"100.aa", "200.bb"}


def test_a_folder_that_takes_nothing_ends_the_session_all_the_same(tmp_path: Path) -> None:
    ended = EndedSessions(tmp_path / "missing")
    ended.add("100.aa", 10.0)
    assert "100.aa" in ended


FORMS = [
    ("a browser over TLS, its own form", {"sec-fetch-site": "same-origin"}, 303),
    ("typed or bookmarked", {"sec-fetch-site": "none"}, 303),
    ("another site over TLS", {"sec-fetch-site": "cross-site"}, 403),
    ("a neighbour of the domain", {"sec-fetch-site": "same-site"}, 403),
    ("plain HTTP, its own form", {"origin": "http://api"}, 303),
    ("plain HTTP, another site", {"origin": "http://evil.example"}, 403),
    ("plain HTTP, another port", {"origin": "http://api:81"}, 403),
    ("plain HTTP, a sandboxed frame", {"origin": "null"}, 403),
    ("an origin that is none", {"origin": "http://[api"}, 403),
    ("behind a proxy that changes the host", {"origin": "https://runs.example"}, 303),
    ("the browser's word on the site counts first", {
        "sec-fetch-site": "same-origin", "origin": "http://evil.example"}, 303),
    ("no browser", {}, 303),
]  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "status"), [row[1:] for row in FORMS], ids=[row[0] for row in FORMS]
)
async def test_whose_login_form_is_taken(
    stand: Stand, headers: dict[str, str], status: int
) -> None:
    object.__setattr__(stand.services.settings, "external_url", "https://runs.example/x")
    async with visitor(stand) as http:
        assert (await log_in(http, **headers)).status_code == status


def test_a_throttle_gives_one_back_after_its_time() -> None:
    throttle = Throttle(3, 10.0)
    for _ in range(3):
        assert throttle.wait("a", 100.0) == 0
        throttle.fail("a", 100.0)
    assert throttle.wait("a", 100.0) == 10
    assert throttle.wait("a", 104.0) == 6
    assert throttle.wait("b", 104.0) == 0
    assert throttle.wait("a", 110.0) == 0
    throttle.fail("a", 110.0)
    assert throttle.wait("a", 110.0) == 10
    assert throttle.wait("a", 10_000.0) == 0


def test_a_throttle_knows_so_many_and_no_more() -> None:
    throttle = Throttle(1, 10.0)
    for number in range(MAX_KEYS + 10):
        throttle.fail(str(number), 0.0)
    assert throttle.wait("0", 0.0) == 0
    assert throttle.wait(str(MAX_KEYS), 0.0) == 10


async def test_a_closed_installation_shows_metrics_and_document_to_callers_only(
    stand: Stand,
) -> None:
    async with visitor(stand) as http:
        for path in ("/metrics", "/openapi.json"):
            assert (await http.get(path)).status_code == 200
            object.__setattr__(stand.services.settings, "closed", True)
            assert (await http.get(path)).status_code == 401
            assert (await stand.http.get(path)).status_code == 200
            object.__setattr__(stand.services.settings, "closed", False)
        object.__setattr__(stand.services.settings, "closed", True)
        for path in ("/healthz", "/readyz"):
            assert (await http.get(path)).status_code == 200


async def test_the_probes_have_an_application_of_their_own(stand: Stand) -> None:
    from codexrun_api.health import create_probe_app

    transport = httpx.ASGITransport(app=create_probe_app(stand.services))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as kubelet:
        for path in ("/healthz", "/readyz"):
            probe = await kubelet.get(path)
            public = await stand.http.get(path)
            assert (probe.status_code, probe.json().keys()) == (200, public.json().keys())
        stand.services.tasks[0].cancel()

        async def broken() -> bool:
            return stand.services.broken is not None

        await stand.settle(broken)
        assert (await kubelet.get("/healthz")).status_code == 503
        for path in ("/metrics", "/runs", "/openapi.json", "/console"):
            assert (await kubelet.get(path)).status_code == 404

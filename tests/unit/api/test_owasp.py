"""The OWASP API Security Top 10 (2023), one test each:
https://owasp.org/API-Security/editions/2023/en/0x11-t10/

Each shows the worst that the entry describes, tried on this api. The files that go deeper are named
in docs/security.md.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from apistand import TOKEN, Stand, csrf_of
from odd import nested

from codexrun_api.app import create_app, openapi_document
from codexrun_api.archive.archive import Archive
from codexrun_api.console import sessions
from codexrun_api.health import create_probe_app
from codexrun_api.logs.gate_identity import GateAuthentication, GateIdentity
from codexrun_api.logs.ingest import create_ingest_app
from codexrun_api.logs.token_claims import NotAGate
from codexrun_core.errors import Unavailable
from codexrun_core.resources.git_urls import UrlError, allowed_url

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
MINE = "11111111-2222-3333-4444-555555555555"
THEIRS = "99999999-2222-3333-4444-555555555555"


class Ingest:
    """The port for logs, for the gate of run MINE; `told`: what the registry was told."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.told: list[str] = []
        self.app = create_ingest_app(
            archive,
            self.authenticate,
            self.note,
            self.note,
            find_run=self.find_run,
            is_removed=self.is_removed,
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app),
            base_url="http://ingest",
            headers={"Authorization": "Bearer mine"},
        )

    async def authenticate(self, token: str, _peer: str) -> GateIdentity:
        if token != "mine":
            raise NotAGate(401, "nobody")
        return GateIdentity(MINE, 1, "pod")

    async def note(self, run_id: str, *_: Any) -> None:
        self.told.append(run_id)

    async def find_run(self, run_id: str) -> None:
        self.told.append(run_id)

    async def is_removed(self, _run_id: str) -> bool:
        return False


@pytest.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    archive = Archive(tmp_path / "archive")
    archive.open()
    archive.append_attempt(THEIRS, 1, 0, b"theirs\n")
    made = Ingest(archive)
    async with made.http:
        yield made


def routes(app: Any) -> set[tuple[str, str]]:
    """Method and path of every route, those of routers too."""
    found = set()
    for route in app.routes:
        if hasattr(route, "original_router"):
            found |= routes(route.original_router)
        else:
            found |= {(method, route.path) for method in route.methods or ()}
    return found


def stranger(stand: Stand, **options: Any) -> httpx.AsyncClient:
    """Somebody without a token."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=stand.app, raise_app_exceptions=False),
        base_url="http://api",
        **options,
    )


async def test_api1_broken_object_level_authorization(ingest: Ingest) -> None:
    """A gate reaches its own run's log, artifacts and usage, whatever else it names."""
    names = f"run_id={THEIRS}&run={THEIRS}&id={THEIRS}"
    for method, path in (
        ("POST", f"/ingest/log?offset=7&{names}"),
        ("POST", f"/ingest/log?offset=0&end=cut&{names}"),
        ("POST", f"/ingest/usage?{names}"),
        ("PUT", f"/ingest/artifacts/output.json?{names}"),
        ("PUT", f"/ingest/artifacts/..%2f..%2f{THEIRS}%2flogs.txt"),
        ("GET", f"/ingest/rollout?{names}"),
    ):
        body = json.dumps({"run_id": THEIRS, "requests": 1}).encode()
        headers = {"X-Run-Id": THEIRS}
        await ingest.http.request(method, path, content=body, headers=headers)
    assert ingest.archive.read(THEIRS, 0, 100) == b"theirs\n"
    assert not ingest.archive.log(THEIRS).closed
    assert ingest.archive.list_artifacts(THEIRS) == []
    assert set(ingest.told) == {MINE}


async def test_api2_broken_authentication(stand: Stand) -> None:
    """No route but the open ones answers without a token, and nothing that is nearly one will
    do."""
    nearly = ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN} x", "Bearer ")
    session = sessions.open_session(b"0" * 32, 0)
    async with stranger(stand) as http:
        for path, operations in openapi_document()["paths"].items():
            for method in operations.keys() - {"parameters"}:
                if path in OPEN:
                    continue
                for value in nearly:
                    headers = {"Authorization": value, "Cookie": f"{sessions.COOKIE}={session}"}
                    url = re.sub(r"{\w+}", "x", path)
                    answer = await http.request(method, f"{url}?token={TOKEN}", headers=headers)
                    assert answer.status_code == 401, (method, path, value)


async def test_api3_broken_object_property_level_authorization(stand: Stand) -> None:
    """A request sets what it may, and not the rest of the object; an answer has no secret."""
    for name in (
        *("image", "env", "status", "spec", "metadata", "annotations", "serviceAccountName"),
        *("requested_by", "origin", "sandbox", "allowed_tools", "model_secret_ref", "uid"),
    ):
        answer = await stand.start(**{name: "x"})
        assert answer.status_code == 422, name
        assert answer.json()["errors"][0]["pointer"] == f"/{name}"
    assert stand.kube.run_names == []
    started = await stand.start(limits={"max_tokens": 10})
    raw = stand.kube.run(started.json()["name"])
    assert raw["spec"].keys() <= {"jobType", "inputs", "limits", "whenFull"}
    assert raw["metadata"]["annotations"]["codexrun.dev/requested-by"] == "shared"
    await stand.mirrored()
    for path in ("", "/details"):
        shown = await stand.http.get(f"/runs/{started.json()['run_id']}{path}")
        assert shown.status_code == 200
        assert TOKEN not in shown.text


async def test_api4_unrestricted_resource_consumption(stand: Stand) -> None:
    """Heads, bodies, pages and lists end somewhere; the connections' bounds are in
    test_connections.py."""
    limit = stand.services.settings.body_limit
    answers = {
        "a body": await stand.http.post("/runs/start", content=b"x" * (limit + 1)),
        "a chunked body": await stand.http.post("/runs/start", content=chunks(limit + 1)),
        "a query": await stand.http.get("/runs?search=" + "a" * 10_000),
        "many parameters": await stand.http.get("/runs?" + "&".join(f"p{n}" for n in range(100))),
        "a header": await stand.http.get("/runs", headers={"X-A": "a" * 40_000}),
        "a path": await stand.http.get("/runs/" + "a" * 3_000),
        "deep inputs": await stand.start(inputs={"name": nested(200)}),
    }
    codes = {name: answer.status_code for name, answer in answers.items()}
    assert codes == {
        "a body": 413,
        "a chunked body": 413,
        "a query": 414,
        "many parameters": 400,
        "a header": 431,
        "a path": 414,
        "deep inputs": 422,
    }
    page = await stand.http.get("/runs?page_size=1000000")
    assert page.status_code == 200


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 1024):
        yield b"x" * 1024


async def test_api5_broken_function_level_authorization(stand: Stand) -> None:
    """A session of the console is no token; a console for looking only changes nothing; and no
    port has the functions of another."""
    async with stranger(stand) as http:
        await http.post("/console/login", data={"token": TOKEN})
        cookie = http.cookies[sessions.COOKIE]
        for method, path in (("POST", "/cleanup"), ("POST", "/runs/start"), ("GET", "/runs")):
            headers = {"Cookie": f"{sessions.COOKIE}={cookie}"}
            assert (await http.request(method, path, headers=headers)).status_code == 401
        object.__setattr__(stand.services.settings, "console_read_only", True)
        csrf = await csrf_of(http)
        posts = [path for method, path in routes(stand.app) if method == "POST"]
        changing = [path for path in posts if path.startswith("/console/")]
        allowed = {"/console/login", "/console/logout", "/console/theme"}
        assert len(changing) > len(allowed)
        for path in sorted(set(changing) - allowed):
            url = re.sub(r"{\w+}", "hello", path)
            answer = await http.post(url, data={"csrf": csrf})
            assert answer.status_code in (403, 404), path
            assert path != "/console/start" or answer.status_code == 403
    assert stand.kube.run_names == []
    for path in ("/ingest/log?offset=0", "/ingest/usage"):
        assert (await stand.http.post(path)).status_code == 404


async def test_api6_unrestricted_access_to_sensitive_business_flows(stand: Stand) -> None:
    """Runs cost money: slots bound them, a repeated request makes no second one, and a slip of the
    pen removes no record."""
    same = [
        await stand.start(when_full="Queue", headers={"Idempotency-Key": "one"}) for _ in range(5)
    ]
    assert len({answer.json()["run_id"] for answer in same}) == 1
    assert len(stand.kube.run_names) == 1
    codes = [(await stand.start()).status_code for _ in range(5)]
    assert codes.count(429) >= 3, "two slots"
    answer = await stand.http.post("/cleanup", json={"older_than": "0s"})
    assert answer.status_code == 422


URLS = [
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/acme/x",
    "https://localhost/acme/x",
    "https://kubernetes.default.svc/acme/x",
    "file:///etc/passwd",
    "ext::sh -c id",
    "https://git.example.com@evil.example/acme/x",
    "https://git.example.com:8443/acme/x",
    "https://git.example.com/acme/..;/secret/x",
    "https://git.example.com/acme/%2e%2e/secret/x",
    "https://git.example.com/acme/..%5csecret",
    "https://git.example.com.evil.example/acme/x",
    "https://evil.example/?https://git.example.com/acme/x",
    "https://git.example.com/acme/x#@evil.example",
]


@pytest.mark.parametrize("url", URLS)
async def test_api7_server_side_request_forgery(url: str) -> None:
    """The only URL that a caller names is the workspace's, and the job type says which it may be;
    the api itself asks for none."""
    allowed = ["https://git.example.com/acme/*"]
    assert allowed_url("https://git.example.com/acme/x", allowed)
    with pytest.raises(UrlError):
        allowed_url(url, allowed)


async def test_api8_security_misconfiguration(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers, methods, errors and documents say no more than they must."""
    async with stranger(stand) as http:
        page = await http.get("/console/login")
        for name in ("content-security-policy", "x-content-type-options", "x-frame-options"):
            assert page.headers[name]
        assert "unsafe" not in page.headers["content-security-policy"]
        for path in ("/docs", "/redoc", "/console/../openapi.yaml", "/.git/config", "/debug"):
            assert (await http.get(path)).status_code == 404
        for method in ("TRACE", "OPTIONS", "CONNECT", "PROPFIND"):
            answer = await http.request(method, "/runs", headers={"Origin": "http://evil.example"})
            assert answer.status_code in (404, 405)
            assert "access-control-allow-origin" not in answer.headers
        answer = await http.post("/console/login", data={"token": TOKEN})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(stand.registry, "page", broken)
    async with stranger(stand, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        answer = await http.get("/runs")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


async def test_api9_improper_inventory_management(stand: Stand, ingest: Ingest) -> None:
    """Every route of REST is in the document, with its port; nothing else listens."""
    documented = {
        (method.upper(), path)
        for path, operations in openapi_document()["paths"].items()
        for method in operations
    }
    served = {(method, path) for method, path in routes(stand.app) if method != "HEAD"}
    rest = {each for each in served if not each[1].startswith("/console") and each[1] != "/"}
    assert rest - documented == {("GET", "/openapi.json")}
    assert documented <= served
    assert {path for _, path in routes(ingest.app)} == {
        *("/ingest/log", "/ingest/usage", "/ingest/artifacts/{name}", "/ingest/rollout")
    }
    probes = create_probe_app(stand.services)
    assert {path for _, path in routes(probes)} == {"/healthz", "/readyz"}
    assert create_app(stand.services).docs_url is None
    async with stranger(stand) as http:
        for path in OPEN - {"/openapi.json", "/metrics"}:
            assert not re.search(r"\d+\.\d+\.\d+", (await http.get(path)).text), "no version"


ODD_REVIEWS: list[Any] = [
    {},
    {"status": None},
    {"status": {"authenticated": "true", "audiences": ["codexrun-api"]}},
    {"status": {"authenticated": True, "audiences": "codexrun-api-2"}},
    {"status": {"authenticated": True, "audiences": ["codexrun-api"], "user": None}},
    {"status": {"authenticated": True, "audiences": ["codexrun-api"], "user": {"username": 7}}},
    {
        "status": {
            "authenticated": True,
            "audiences": ["codexrun-api"],
            "user": {"username": "system:serviceaccount:codexrun:x", "extra": {"a": []}},
        }
    },
]
# A gate's by its own words: {"aud": ["codexrun-api"], "exp": 4e9, "kubernetes.io": ...}
LIKELY = (
    "e30.eyJhdWQiOlsiY29kZXhydW4tYXBpIl0sImV4cCI6NGU5LCJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6ImNvZGV4"
    "cnVuIiwicG9kIjp7fX19.eA"
)


@pytest.mark.parametrize("answer", ODD_REVIEWS, ids=range(len(ODD_REVIEWS)))
async def test_api10_unsafe_consumption_of_apis(
    stand: Stand, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an apiserver, or who speaks for it, answers oddly makes nobody a gate; and one odd
    object keeps no other from being shown."""

    async def create(*_: Any) -> Any:
        return answer

    monkeypatch.setattr(stand.kube, "create", create)
    with pytest.raises((NotAGate, Unavailable)):
        await GateAuthentication(stand.kube)(LIKELY, "10.0.0.1")
    monkeypatch.undo()
    odd = {"metadata": {"name": "odd"}, "spec": {"jobType": ["hello"]}}
    stand.kube.put(stand.kube.runs, odd)
    started = await stand.start()
    await stand.mirrored()
    names = [run["name"] for run in (await stand.http.get("/runs")).json()["runs"]]
    assert names == [started.json()["name"]]

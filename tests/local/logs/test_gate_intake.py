"""What the gate takes from the agent's container, with and without an api behind it."""

import json

import aiohttp
import pytest
from aiohttp import web
from gate_app import gate_settings, listening

from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.server import Gate

RUN = "11111111-2222-3333-4444-555555555555"


class FakeApi:
    """An ingest port that notes what comes, and answers with `status`."""

    def __init__(self):
        self.status = 200
        self.seen = []
        self.log = b""
        self.rollout = b""
        self.refusal = "spec.retryOf.resume: " + "why; " * 100

    async def handle(self, request):
        body = await request.read()
        self.seen.append((request.method, request.path, request.headers.get("Authorization"), body))
        if self.status != 200:
            return web.Response(status=self.status)
        if request.path == "/ingest/rollout":
            if self.rollout:
                return web.Response(body=self.rollout)
            return web.json_response({"error": self.refusal}, status=409)
        if request.path == "/ingest/log" and int(request.query["offset"]) == len(self.log):
            self.log += body
        return web.json_response({"size": len(self.log), "ended": "end" in request.query})


@pytest.fixture
async def api():
    one = FakeApi()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", one.handle)
    async with listening(app) as one.url:
        yield one


class Stand:
    """A gate with its port, and a client."""

    def __init__(self, root, url):
        token = root / "token"
        token.write_text("first\n")
        self.root = root
        config = {"runId": RUN, "upstreamURL": "http://x/v1", "ingestURL": url}
        self.ledger = Ledger(gate_settings(root, {"INGEST_TOKEN": token}, **config))

    async def __aenter__(self):
        self.gate = Gate(self.ledger)
        self.runner = web.AppRunner(self.gate.application())
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.http = aiohttp.ClientSession(f"http://127.0.0.1:{self.runner.addresses[0][1]}")
        return self

    async def __aexit__(self, *_):
        await self.http.close()
        await self.gate.close(0.0)
        await self.runner.cleanup()

    async def ask(self, method, path, data=None):
        async with self.http.request(method, path, data=data) as answer:
            return answer.status, await answer.read()

    def message(self):
        self.ledger.publish()
        raw = (self.root / "message").read_bytes()
        assert len(raw) == 3000
        return json.loads(raw)


async def test_without_an_api_all_is_taken_and_dropped_politely(tmp_path):
    async with Stand(tmp_path, None) as stand:
        assert await stand.ask("POST", "/log?offset=0", b"one\n") == (200, b'{"size": 4}')
        assert await stand.ask("POST", "/log?offset=4&end=1", b"") == (200, b'{"size": 4}')
        assert await stand.ask("PUT", "/artifacts/final-message.md", b"bye") == (200, b"{}")
        assert (await stand.ask("GET", "/rollout"))[0] == 404
        assert not (tmp_path / "spool").exists()
        assert "logComplete" not in stand.message()


async def test_log_and_artifacts_are_shipped_with_the_token_of_the_moment(tmp_path, api):
    async with Stand(tmp_path, api.url) as stand:
        assert await stand.ask("PUT", "/artifacts/final-message.md", b"bye") == (200, b"{}")
        assert await stand.ask("POST", "/log?offset=0", b"one\n") == (200, b'{"size": 4}')
        (tmp_path / "token").write_text("renewed\n")
        assert await stand.ask("POST", "/log?offset=4&end=1", b"") == (200, b'{"size": 4}')
        await stand.gate.uploader.finish(30)
        assert api.log == b"one\n"
        assert ("PUT", "/ingest/artifacts/final-message.md", "Bearer renewed", b"bye") in api.seen
        assert (stand.message()["logBytes"], stand.message()["logComplete"]) == (4, True)
        assert list((tmp_path / "spool/artifacts").iterdir()) == []


async def test_what_could_not_be_shipped_is_said(tmp_path, api):
    api.status = 503
    async with Stand(tmp_path, api.url) as stand:
        await stand.ask("POST", "/log?offset=0&end=1", b"one\n")
        await stand.gate.uploader.finish(0.0)
        assert (stand.message()["logBytes"], stand.message()["logComplete"]) == (0, False)


async def test_a_log_that_its_runner_did_not_end_is_not_complete(tmp_path, api):
    async with Stand(tmp_path, api.url) as stand:
        await stand.ask("POST", "/log?offset=0", b"half")
        await stand.gate.uploader.finish(30)
        assert api.log == b"half"
        assert (stand.message()["logBytes"], stand.message()["logComplete"]) == (4, False)


WRONG = [
    ("POST", "/log", b"x", 400),
    ("POST", "/log?offset=-1", b"x", 400),
    ("POST", "/log?offset=1e3", b"x", 400),
    ("POST", "/log?offset=0", b"x" * (1024 * 1024 + 1), 413),
    ("PUT", "/artifacts/final-message.md", b"x" * (1024 * 1024 + 1), 413),
    ("PUT", "/artifacts/other.txt", b"x", 404),
    ("PUT", "/artifacts/..%2Flog", b"x", 404),
    ("PUT", "/artifacts/%2e%2e", b"x", 404),
    ("GET", "/log?offset=0", None, 405),
]


@pytest.mark.parametrize(
    ("method", "path", "data", "status"), WRONG, ids=[f"{row[0]} {row[1]}" for row in WRONG]
)
async def test_what_the_gate_refuses(tmp_path, api, method, path, data, status):
    async with Stand(tmp_path, api.url) as stand:
        assert (await stand.ask(method, path, data))[0] == status
        assert (tmp_path / "spool/log").read_bytes() == b""
        assert list((tmp_path / "spool/artifacts").iterdir()) == []


async def test_an_artifact_without_a_length_is_cut_off_at_its_limit(tmp_path, api):
    async def endless():
        for _ in range(20):
            yield b"x" * 100_000

    async with Stand(tmp_path, api.url) as stand:
        assert (await stand.ask("PUT", "/artifacts/final-message.md", endless()))[0] == 413
        assert list((tmp_path / "spool/artifacts").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "rollout", "expected"),
    [(200, b"{}\n", 200), (200, b"", 404), (503, b"", 503), (401, b"", 503)],
)
async def test_a_rollout_comes_through_or_the_runner_hears_why(
    tmp_path, api, status, rollout, expected
):
    api.status = status
    api.rollout = rollout
    async with Stand(tmp_path, api.url) as stand:
        got, body = await stand.ask("GET", "/rollout")
        assert got == expected
        assert expected != 200 or body == rollout
        assert expected != 404 or json.loads(body) == {"error": api.refusal}

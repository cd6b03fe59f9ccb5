"""The model's endpoint as companies have it: a header of their own, a query, a private CA, a
proxy."""

import asyncio
import contextlib
import ssl
import subprocess

import aiohttp
import pytest
from aiohttp import web
from gate_app import gate_settings, listening

from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.endpoint import Endpoint
from codexrun_pod.gate.server import Gate

KEY = "team-key-0123456789"
BODY = {"model": "m", "stream": True, "store": False, "input": "hello"}
COMPLETED = (
    b'data: {"type":"response.completed","response":'
    b'{"id":"r","usage":{"input_tokens":100,"output_tokens":20}}}\n\n'
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Certificate and key of a server that no public CA knows; the certificate is its own CA."""
    folder = tmp_path_factory.mktemp("ca")
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=model",
    ]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.crt")]
    subprocess.run(
        ["openssl", "req", "-x509", *made, *names, *files], check=True, capture_output=True
    )
    return folder


class Company:
    """An endpoint in the style of Azure: wants `api-key` and `?api-version=`, on a path of its
    own."""

    def __init__(self):
        self.seen = []

    async def handle(self, request):
        self.seen.append(dict(request.headers))
        if (
            request.headers.get("api-key") != KEY
            or request.query.get("api-version") != "2026-10 preview"
        ):
            return web.json_response(
                {"error": {"message": "Access denied", "code": "401"}}, status=401
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(COMPLETED)
        return response


class Proxy:
    """CONNECT and nothing else, as in front of most companies' networks."""

    def __init__(self):
        self.connected = []

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.connected.append(target.decode())
        assert method == b"CONNECT"
        host, port = target.decode().rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self.pump(reader, back), self.pump(there, writer))

    async def pump(self, source, target):
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()


@contextlib.asynccontextmanager
async def company(authority, certificate="ca.crt"):
    endpoint = Company()
    app = web.Application()
    app.router.add_post("/openai/deployments/gpt/responses", endpoint.handle)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / certificate, authority / "key.pem")
    async with listening(app, tls) as url:
        endpoint.url = url
        yield endpoint


AZURE = {
    "authHeader": "api-key",
    "queryParams": {"api-version": "2026-10 preview"},
    "caBundle": True,
}


async def ask(tmp_path, endpoint, authority, **change):
    key = tmp_path / "key"
    key.write_text(KEY)
    given = {"upstreamURL": f"{endpoint.url}/openai/deployments/gpt", **AZURE, **change}
    files = {"KEY": key, "CA": authority / "ca.crt"}
    ledger = Ledger(gate_settings(tmp_path, files, **given))
    gate = Gate(ledger)
    async with listening(gate.application()) as here, aiohttp.ClientSession() as client:
        async with client.post(
            f"{here}/v1/responses", json=BODY, headers={"api-key": "the agent's"}
        ) as answer:
            await answer.read()
        await gate.session.close()
    return answer.status, ledger.account


async def test_header_query_and_private_ca(tmp_path, authority):
    async with company(authority) as endpoint:
        status, account = await ask(tmp_path, endpoint, authority)
    assert (status, account.usage.total, account.complete) == (200, 120, True)
    assert "Authorization" not in endpoint.seen[0]
    assert endpoint.seen[0]["api-key"] == KEY


async def test_the_private_ca_holds_for_an_exchange_beside_a_model_without_tls(tmp_path, authority):
    subject = tmp_path / "subject"
    subject.write_text("of the ServiceAccount")
    seen = []

    async def exchange(_):
        return web.json_response({"access_token": "short-lived", "expires_in": 60})

    async def respond(request):
        seen.append(request.headers["Authorization"])
        return web.Response(body=COMPLETED, headers={"Content-Type": "text/event-stream"})

    identities, models = web.Application(), web.Application()
    identities.router.add_post("/token", exchange)
    models.router.add_post("/v1/responses", respond)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / "ca.crt", authority / "key.pem")
    async with listening(identities, tls) as there, listening(models) as model:
        identity = {"tokenURL": f"{there}/token", "parameters": {}, "encoding": "json"}
        files = {"IDENTITY": subject, "CA": authority / "ca.crt"}
        given = {"upstreamURL": f"{model}/v1", "caBundle": True, "identity": identity}
        gate = Gate(Ledger(gate_settings(tmp_path, files, **given)))
        async with listening(gate.application()) as here, aiohttp.ClientSession() as client:
            async with client.post(f"{here}/v1/responses", json=BODY) as answer:
                assert answer.status == 200, await answer.text()
            await gate.session.close()
    assert seen == ["Bearer short-lived"]


async def test_through_a_proxy(tmp_path, authority):
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with company(authority) as endpoint, server:
        status, account = await ask(tmp_path, endpoint, authority, proxy=f"http://127.0.0.1:{port}")
    assert (status, account.usage.total) == (200, 120)
    assert proxy.connected == [endpoint.url.removeprefix("https://")]


async def test_without_the_bundle_the_certificate_is_refused_and_named(tmp_path, authority):
    async with company(authority) as endpoint:
        status, account = await ask(tmp_path, endpoint, authority, caBundle=False)
    assert (status, endpoint.seen) == (400, [])
    assert (account.usage.total, account.complete, account.last_error.class_) == (
        0,
        True,
        "model_error",
    )
    assert "certificate verify failed" in account.last_error.message
    assert "model.caBundle" in account.last_error.advice
    assert not account.last_error.retryable


@pytest.fixture(scope="module")
def old_authority(tmp_path_factory):
    """A CA as curl, OpenSSL and Codex take it: its basic constraints are not marked critical, and
    what it signs names no authority key."""
    folder = tmp_path_factory.mktemp("old-ca")
    ca_config = folder / "ca.cnf"
    ca_config.write_text(
        "[req]\ndistinguished_name=name\nx509_extensions=ca\n[name]\n"
        "[ca]\nbasicConstraints=CA:TRUE\n"
    )
    leaf = folder / "leaf.cnf"
    leaf.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=none\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -config ca.cnf"
    commands = (
        f"req -x509 {key} -subj /CN=ca -days 2 -keyout ca.key -out ca.crt",
        f"req {key} -subj /CN=model -keyout key.pem -out leaf.csr",
        "x509 -req -in leaf.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
        " -extfile leaf.cnf -out leaf.crt",
    )
    for command in commands:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)
    return folder


async def test_a_ca_that_others_take_is_taken(tmp_path, old_authority):
    """Python 3.13 is stricter: https://github.com/python/cpython/issues/138193"""
    async with company(old_authority, "leaf.crt") as endpoint:
        status, account = await ask(tmp_path, endpoint, old_authority)
    assert (status, account.usage.total, account.last_error) == (200, 120, None)


def test_no_check_of_certificates_is_stricter_than_openssl(authority):
    for ca_file in (None, authority / "ca.crt"):
        context = Endpoint(upstream="https://x/v1", ca_file=ca_file).tls()
        assert not context.verify_flags & ssl.VERIFY_X509_STRICT
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    "change", [{"authHeader": None}, {"queryParams": {}}], ids=["header", "query"]
)
async def test_what_the_endpoint_wants_it_must_get(tmp_path, authority, change):
    async with company(authority) as endpoint:
        status, account = await ask(tmp_path, endpoint, authority, **change)
    assert (status, account.last_error.class_) == (400, "auth")


async def test_a_proxy_that_is_not_there_costs_nothing(tmp_path, authority):
    async with company(authority) as endpoint:
        status, account = await ask(tmp_path, endpoint, authority, proxy="http://127.0.0.1:9")
    assert (status, account.usage.total, account.complete) == (502, 0, True)


async def test_a_proxy_that_refuses_costs_nothing(tmp_path, authority):
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with company(authority) as endpoint, server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status, account = await ask(tmp_path, endpoint, authority, proxy=proxy)
    assert (status, account.usage.total, account.complete) == (400, 0, True)
    assert account.last_error.class_ == "model_error"


def test_a_bearer_token_is_the_default():
    endpoint = Endpoint(upstream="https://x/v1")
    assert endpoint.credentials("k") == {"Authorization": "Bearer k"}
    assert endpoint.credentials(None) == {}
    assert endpoint.responses == "https://x/v1/responses"

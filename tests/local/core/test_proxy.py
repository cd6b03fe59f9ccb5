"""What of the environment counts for requests to the apiserver: a proxy, and no .netrc."""

from collections.abc import AsyncIterator
from pathlib import Path

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from codexrun_core.errors import Unavailable
from codexrun_core.kube.client import Kube, api_client
from codexrun_operator.watch import kopf_informer

APISERVER = "http://apiserver.invalid"  # nothing but the proxy can answer for it


class Server:
    """Answers whatever is asked of it, as an apiserver or as the proxy before one."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.authorizations: list[str | None] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.hosts.append(request.headers["Host"])
        self.authorizations.append(request.headers.get("Authorization"))
        return web.json_response({"kind": "Pod"})


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, Server]]:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    listening = TestServer(app)
    await listening.start_server()
    yield str(listening.make_url("")).rstrip("/"), server
    await listening.close()


async def get(configuration: client.Configuration) -> None:
    api = api_client(configuration)
    try:
        await Kube(api, "codexrun", lambda: None).get("/api/v1/namespaces/codexrun/pods/a")
    finally:
        await api.close()


async def test_the_proxy_of_the_kubeconfig_is_asked(served: tuple[str, Server]) -> None:
    url, server = served
    configuration = client.Configuration(host=APISERVER)
    configuration.proxy = url
    await get(configuration)
    assert server.hosts == ["apiserver.invalid"]


async def test_the_proxy_of_the_environment_is_asked(
    served: tuple[str, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = served
    monkeypatch.setenv("http_proxy", url)
    await get(client.Configuration(host=APISERVER))
    assert server.hosts == ["apiserver.invalid"]


async def test_no_proxy_counts(served: tuple[str, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    url, server = served
    monkeypatch.setenv("http_proxy", url)
    monkeypatch.setenv("no_proxy", "example.com,.invalid")
    with pytest.raises(Unavailable):
        await get(client.Configuration(host=APISERVER))
    assert server.hosts == []


async def test_credentials_of_a_netrc_stay_away_from_the_apiserver(
    served: tuple[str, Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """aiohttp refuses a request that has both a token and those."""
    url, server = served
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    configuration = client.Configuration(host=url)
    configuration.api_key["BearerToken"] = "token"
    configuration.api_key_prefix["BearerToken"] = "Bearer"
    await get(configuration)
    assert server.authorizations == ["Bearer token"]


@pytest.mark.parametrize(
    ("own", "no_proxy", "proxy"),
    [
        (None, "", "http://proxy.invalid:3128"),
        (None, ".invalid", None),
        ("http://own.invalid:1", "", "http://own.invalid:1"),
    ],
    ids=["of the environment", "none for this host", "of the kubeconfig"],
)
async def test_kopf_goes_through_the_same_proxy(
    monkeypatch: pytest.MonkeyPatch, own: str | None, no_proxy: str, proxy: str | None
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    info = kopf.ConnectionInfo(server=APISERVER, proxy_url=own)
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
    chosen = await kopf_informer.login()
    assert chosen is not None
    assert (chosen.proxy_url, chosen.trust_env) == (proxy, False), "nor is a .netrc read"

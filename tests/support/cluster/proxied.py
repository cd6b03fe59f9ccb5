"""An operator of our own behind a proxy in front of the cluster's apiserver, with the rights of the
cluster's own operator."""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from fault_proxy import FaultProxy
from lab import Lab
from operator_process import OperatorProcess
from own_operator import no_operator

ACCOUNT = "codexrun-operator"


def server_of(lab: Lab) -> tuple[str, ssl.SSLContext]:
    """Return the apiserver's address, and whom to believe that it is that."""
    kubeconfig = yaml.safe_load(Path(lab.env["KUBECONFIG"]).read_text())
    cluster = kubeconfig["clusters"][0]["cluster"]
    if "certificate-authority" in cluster:
        tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    else:
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        tls = ssl.create_default_context(cadata=authority)
    return cluster["server"], tls


@asynccontextmanager
async def proxy_of(lab: Lab) -> AsyncIterator[FaultProxy]:
    """A proxy that passes tokens on."""
    server, tls = server_of(lab)
    async with FaultProxy(server, tls=tls).serve() as proxy:
        yield proxy


def process_behind(lab: Lab, proxy: FaultProxy, folder: Path, **settings: str) -> OperatorProcess:
    """Return an operator that is not started yet; it has the token of the cluster's."""
    token = lab.kubectl("create", "token", ACCOUNT, "--duration=3h").stdout.strip()
    operator = OperatorProcess(proxy.url, folder, token=token, settings=settings)
    proxy.kill = operator.kill
    return operator


@asynccontextmanager
async def operator_behind_proxy(
    lab: Lab, folder: Path
) -> AsyncIterator[tuple[FaultProxy, OperatorProcess]]:
    """In the place of the cluster's operator; not started yet."""
    with no_operator(lab) as settings:
        async with proxy_of(lab) as proxy:
            operator = process_behind(lab, proxy, folder, **settings)
            try:
                yield proxy, operator
            finally:
                await operator.stop()

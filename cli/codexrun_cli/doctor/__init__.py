"""What runs need, looked at one by one, in the order in which one thing needs the other."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from codexrun_cli.doctor import api, cluster, installation, probing, sandbox, surroundings
from codexrun_cli.doctor.findings import Json, attempt, failed, note
from codexrun_cli.errors import CommandError
from codexrun_cli.settings import Flags, Settings
from codexrun_cli.transports.connection import open_transport, settings_of


def examine(flags: Flags, *, probe: bool = False) -> Iterator[Json]:
    """Look at everything. The cluster is looked at too where commands go through the api, if a
    kubeconfig is there. probe: send a request through a gate, too."""
    settings = settings_of(flags)
    namespace = yield from api.examine(settings)
    straight = settings_of(flags, straight=True)
    if namespace and not flags.namespace:
        straight = replace(straight, namespace=namespace)  # where its runs are
    yield from _cluster(straight, through_api=settings.rest, probe=probe)


def _cluster(settings: Settings, *, through_api: bool, probe: bool) -> Iterator[Json]:
    try:
        transport: Any = open_transport(settings, ask=False)
        server = transport.loop.call(transport.kube.get("/version"))
    except CommandError as error:
        if through_api:
            yield note("cluster", f"not checked: {error.detail}")
        else:
            yield failed("cluster", error.detail, error.hint or "kubectl cluster-info")
        return
    try:
        yield from _inside(transport, server, probe=probe)
    finally:
        transport.close()


def _inside(transport: Any, server: Json, *, probe: bool) -> Iterator[Json]:
    kube = transport.kube

    def get(path: str) -> Json:
        body: Json = transport.loop.call(kube.get(path))
        return body

    def listed(path: str, **selectors: str) -> list[Json]:
        async def collect() -> list[Json]:
            return [raw async for page in kube.pages(path, **selectors) for raw in page["items"]]

        items: list[Json] = transport.loop.call(collect())
        return items

    finding: Json = {}
    for finding in cluster.examine(transport, server, get):
        yield finding
    if (finding["name"], finding["result"]) == ("crd", "failed"):
        return
    listing = attempt(lambda: listed(kube.job_types))
    job_types: list[Json] = [] if isinstance(listing, CommandError) else listing
    yield from installation.examine(get, kube.namespace, kube.pods, job_types)
    yield from surroundings.examine(get, kube.namespace, job_types)
    yield from sandbox.examine(
        get,
        kube.namespace,
        job_types,
        lambda name: listed(kube.runs, fieldSelector=f"spec.jobType={name}"),
    )
    if probe:
        yield probing.probe(transport, job_types)

"""The operator's own informers against an apiserver whose objects are nested: `python deep_kopf.py`
with levels as arguments.

A process of its own: the recursion limit, the stack and the memory are the process's. It prints one
line of JSON.
"""

import asyncio
import json
import resource
import sys
import tempfile
from pathlib import Path

import kopf
from aiohttp import web

from codexrun_core import deep_json
from codexrun_core.unreadable import UNREADABLE
from codexrun_operator.watch import kopf_informer
from codexrun_operator.watch.cache import Cache
from codexrun_operator.watch.keys import Key

GROUP = "codexrun.dev/v1alpha1"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: c, context: {{cluster: c, user: u, namespace: codexrun}}}}]
users: [{{name: u, user: {{token: t}}}}]
"""
SECONDS = 60  # a bound, not a measure
PLURALS = {"codexruns": "CodexRun", "codexjobtypes": "CodexJobType"}


def run_text(name: str, levels: int, version: int) -> str:
    """A CodexRun of so many levels in all, as text: the encoder of the interpreter could not write
    it."""
    value = "[" * (levels - 3) + "]" * (levels - 3) if levels > 3 else '"text"'
    metadata = {
        "name": name,
        "namespace": "codexrun",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
    }
    metadata["creationTimestamp"] = "2026-11-24T12:00:00Z"
    head = json.dumps({"apiVersion": GROUP, "kind": "CodexRun", "metadata": metadata})[:-1]
    return (
        f'{head}, "spec": {{"jobType": "hello", "inputs": {{"a": {value}}}}}, "status": {{"phase":'
        ' "Pending"}}'
    )


def resources(group_version: str, kinds: dict[str, str]) -> dict[str, object]:
    verbs = ["get", "list", "watch", "patch"]
    listed = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "kind": kind,
            "namespaced": kind != "Namespace",
            "verbs": verbs,
        }
        for plural, kind in kinds.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version, "resources": listed}


class Apiserver:
    """Lists the first half of the runs, and tells of the others by a watch."""

    def __init__(self, levels: list[int]) -> None:
        self.listed = [run_text(f"listed-{n}", n, 10 + i) for i, n in enumerate(levels)] + [
            run_text("listed-plain", 0, 50)
        ]
        self.watched = [run_text(f"watched-{n}", n, 100 + i) for i, n in enumerate(levels)]
        self.watched.append(run_text("watched-plain", 0, 200))
        self.end = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/")
        plural = path.rpartition("/")[2]
        if path == "version":
            return web.json_response({"major": "1", "minor": "34"})
        if path == "api":
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if path == "api/v1":
            return web.json_response(resources("v1", {"namespaces": "Namespace"}))
        if path == "apis":
            version = {"groupVersion": GROUP, "version": "v1alpha1"}
            group = {"name": "codexrun.dev", "preferredVersion": version, "versions": [version]}
            return web.json_response({"kind": "APIGroupList", "groups": [group]})
        if path == f"apis/{GROUP}":
            return web.json_response(resources(GROUP, PLURALS))
        if plural not in PLURALS:
            return web.json_response(
                {"kind": "Status", "code": 404, "reason": "NotFound"}, status=404
            )
        runs = plural == "codexruns"
        if request.query.get("watch") not in ("1", "true"):
            items = ",".join(self.listed if runs else [])
            head = (
                f'{{"kind": "{PLURALS[plural]}List", "apiVersion": "{GROUP}", "metadata":'
                ' {"resourceVersion": "99"}'
            )
            return web.Response(
                text=f'{head}, "items": [{items}]}}', content_type="application/json"
            )
        stream = web.StreamResponse()
        await stream.prepare(request)
        for item in self.watched if runs else []:
            await stream.write(f'{{"type": "ADDED", "object": {item}}}\n'.encode())
        await self.end.wait()
        return stream


async def main(levels: list[int]) -> dict[str, object]:
    server = Apiserver(levels)
    app = web.Application()
    app.router.add_get("/{tail:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    told: set[str] = set()
    changed = asyncio.Event()

    def mark(key: Key) -> None:
        told.add(key.name)
        changed.set()

    state = Cache(enqueue=mark)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "kubeconfig"
        config.write_text(KUBECONFIG.format(port=port))
        import os

        os.environ["KUBECONFIG"] = str(config)
        stop = asyncio.Event()
        registry = kopf_informer.registry(state, lambda: None)
        working = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=kopf_informer.settings(),
                namespaces=["codexrun"],
                standalone=True,
                stop_flag=stop,
            )
        )
        wanted = {"uid-listed-plain", "uid-watched-plain"}
        async with asyncio.timeout(SECONDS):
            while not wanted <= told and not working.done():
                changed.clear()
                await asyncio.wait(
                    (working, asyncio.ensure_future(changed.wait())),
                    return_when=asyncio.FIRST_COMPLETED,
                )
        ended = working.done()
        stop.set()
        server.end.set()
        await asyncio.wait((working,), timeout=20)
    await runner.cleanup()
    unread = UNREADABLE.labels("codexrun")._value.get()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "told": sorted(told),
        "ended": ended,
        "unread": unread,
        "mib": peak,
        "limit": sys.getrecursionlimit(),
    }


if __name__ == "__main__":
    deep_json.install()
    print(json.dumps(asyncio.run(main([int(text) for text in sys.argv[1:]]))))

"""`python api_process.py`: the api's own process, registry, mirror, archive and both ports, over an
apiserver in memory.

So many RUNS of job type `hello` run from the start (`run-0`, ...), each with its number as uid; one
succeeds once its log is closed. The token of a gate is the run's uid.
"""

import asyncio
import os
import sys
import uuid

import manifests
from fake_cluster import FakeCluster, stamp

from codexrun_api import __main__ as api
from codexrun_api.archive.archive import Archive
from codexrun_api.logs.gate_identity import GateIdentity, NotAGate
from codexrun_api.settings import settings_from

RUNS = int(os.environ.get("RUNS", "0"))


class NoClient:
    async def close(self):
        pass


class Gates:
    def __init__(self, _kube):
        pass

    async def __call__(self, token):
        if not token.startswith("00000000-"):
            raise NotAGate(401, "no gate")
        return GateIdentity(token, 1, "pod")


def cluster():
    kube = FakeCluster()
    for number in range(RUNS):
        kube.put(kube.runs, manifests.run(f"run-{number}", inputs={"name": "world"}))
        path = f"{kube.runs}/run-{number}"
        kube.patch(path, {"metadata": {"uid": str(uuid.UUID(int=number))}})
        kube.status(f"run-{number}", "Running", attempt=1, startedAt=stamp())
    return kube


async def end_runs(kube, archive):
    """What operator and kubelet would do."""
    going = set(range(RUNS))
    while going:
        for number in sorted(going):
            if archive.log(str(uuid.UUID(int=number))).complete is not None:
                kube.status(f"run-{number}", "Succeeded", attempt=1, finishedAt=stamp())
                going.discard(number)
        await asyncio.sleep(0.2)


async def main():
    kube = cluster()
    settings = settings_from()

    async def connect():
        return NoClient()

    api.connect = connect
    api.Kube = lambda *_, **__: kube
    api.GateAuthentication = Gates
    ending = asyncio.create_task(end_runs(kube, Archive(settings.archive)))
    code = await api.run(settings)
    ending.cancel()
    return code


sys.exit(asyncio.run(main()))

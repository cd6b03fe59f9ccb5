"""How fast are starts, reads and the mirror, beside a real apiserver and operator? Needs the
cluster of `make up`.

The runs wait in a suspended job type: no pod, so that what is measured is admission, registry and
facade.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from http_load import Client, Load, at_once, at_rate
from measured import Measured

from codexrun_core.kube.client import Kube, connect
from codexrun_core.runs.annotations import REQUESTED_BY

ROUNDS = 3
START_WORKERS = 8
START_SECONDS = 6.0
START_RATE = 20.0
GET_WORKERS = 8
GET_SECONDS = 5.0
CHANGED = 30
CHANGE_RATE = 30.0
CHANGE_SECONDS = 10.0
LOOK_EVERY = 0.02


async def measure() -> list[Measured]:
    client = Client(os.environ["CODEX_CONTROL_URL"], os.environ["CODEX_CONTROL_TOKEN"])
    api = await connect()
    kube = Kube(api, "codexrun", lambda: None, agent="codexrun-bench")
    try:
        async with _job_type(kube) as name:
            measured: list[Measured] = []
            for measuring in (
                _reads(client, name),
                _lag(client, kube, name),
                *_starts(client, name),
                _memory(client),
            ):
                measured.append(await measuring)
                print(measured[-1])  # noqa: T201 - it takes a minute, and what comes later may fail
            return measured
    finally:
        client.close()
        await api.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def _job_type(kube: Kube) -> AsyncIterator[str]:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    spec = {
        "prompt": {"name": "hello", "version": "v1"},
        "model": "gpt-5.5",
        "concurrencyLimit": 1,
        "maxQueued": 100_000,
        "suspended": True,
    }
    body = {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexJobType",
        "metadata": {"name": name},
        "spec": spec,
    }
    made = await kube.create(kube.job_types, body)
    await asyncio.sleep(2)  # until operator and api have seen it
    try:
        yield name
    finally:
        async for page in kube.pages(kube.runs, fieldSelector=f"spec.jobType={name}"):
            for run in page["items"]:
                await kube.delete(
                    f"{kube.runs}/{run['metadata']['name']}", uid=run["metadata"]["uid"]
                )
        await kube.delete(f"{kube.job_types}/{name}", uid=made["metadata"]["uid"])


def _wish(job_type: str) -> dict[str, object]:
    return {"job_type": job_type, "inputs": {"name": "world"}, "when_full": "Queue"}


def _starts(client: Client, job_type: str) -> list[Coroutine[None, None, Measured]]:
    async def start() -> int:
        return (await client("POST", "/runs/start", _wish(job_type)))[0]

    async def latency() -> Measured:
        loads = [await at_rate(START_RATE, START_SECONDS, start) for _ in range(ROUNDS)]
        return Measured("start_p99_ms", [_all(load, 202).quantile(0.99) for load in loads])

    async def rate() -> Measured:
        loads = [await at_once(START_WORKERS, START_SECONDS, start) for _ in range(ROUNDS)]
        return Measured("start_per_second", [_all(load, 202).rate(202) for load in loads])

    return [latency(), rate()]


async def _reads(client: Client, job_type: str) -> Measured:
    _, body = await client("POST", "/runs/start", _wish(job_type))
    run_id = json.loads(body)["run_id"]

    async def read() -> int:
        return (await client("GET", f"/runs/{run_id}"))[0]

    rates = []
    for _ in range(ROUNDS):
        load = await at_once(GET_WORKERS, GET_SECONDS, read)
        _all(load, 200)
        rates.append(load.rate(200))
    return Measured("get_per_second", rates)


async def _lag(client: Client, kube: Kube, job_type: str) -> Measured:
    """From before a change is sent to the apiserver until a list (which shows rows) has it: an
    upper bound of the lag."""
    users = [f"bench-{uuid.uuid4().hex[:8]}" for _ in range(CHANGED)]
    names = {}
    for user in users:
        spec = {"jobType": job_type, "inputs": {"name": "world"}, "whenFull": "Queue"}
        body = {
            "apiVersion": "codexrun.dev/v1alpha1",
            "kind": "CodexRun",
            "metadata": {"generateName": "bench-", "annotations": {REQUESTED_BY: user}},
            "spec": spec,
        }
        names[user] = (await kube.create(kube.runs, body))["metadata"]["name"]
    turns = iter(range(10**9))

    async def shown(user: str) -> int:
        _, body = await client("GET", f"/runs?user={user}")
        runs = json.loads(body)["runs"]
        return runs[0].get("priority", 0) if runs else -1

    async def change() -> int:
        number = next(turns)
        user = users[number % CHANGED]
        priority = 1 + number // CHANGED
        await kube.merge(f"{kube.runs}/{names[user]}", {"spec": {"priority": priority}})
        while await shown(user) < priority:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(LOOK_EVERY)
        return 200

    while min([await shown(user) for user in users]) < 0:  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.1)
    lags = []
    for _ in range(ROUNDS):
        load = await at_rate(CHANGE_RATE, CHANGE_SECONDS, change)
        lags.append(load.quantile(0.99))
    return Measured("mirror_lag_p99_ms", lags)


async def _memory(client: Client) -> Measured:
    _, text = await client("GET", "/metrics")
    lines = dict(
        line.rsplit(" ", 1)
        for line in text.decode().splitlines()
        if line and not line.startswith("#")
    )
    return Measured("api_resident_mb", [float(lines["process_resident_memory_bytes"]) / 1e6])


def _all(load: Load, status: int) -> Load:
    if set(load.statuses) != {status}:
        raise SystemExit(f"answers other than {status}: {load.statuses}")
    return load


if __name__ == "__main__":
    asyncio.run(measure())

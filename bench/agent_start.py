"""How long after the start of the agent's container does Codex begin, beside Codex by hand in the
same image? Needs the embedded node of `make up`: containerd tells when a container was started, and
its log when Codex said its first word."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from measured import Measured
from simulation import scale

from codexrun_cluster.node.settings import CONTAINERD_SOCKET
from codexrun_core.kube.client import Json, Kube, connect
from codexrun_core.runs.label_keys import RUN_UID_LABEL
from codexrun_core.runs.new_run import manifest

ROUNDS = 7
PATIENCE_SECONDS = 120
FIRST_WORD = '"thread.started"'
NAMESPACE = "codexrun"
# Codex as a person would start it, with the demo model of `make up`.
BY_HAND = (
    "/opt/codex/bin/codex",
    "exec",
    "--json",
    "--skip-git-repo-check",
    "--config=model_provider='demo'",
    "--config=model_providers.demo.name='demo'",
    "--config=model_providers.demo.base_url='http://codexrun-demo-model/v1'",
    "--config=model_providers.demo.wire_api='responses'",
    "--model=gpt-5.5",
    "Say hello to world.",
)
# ctr prints Go's time, with a space for RFC 3339's T and nanoseconds.
TASK_START = re.compile(
    r'^(\S+) (\d\d:\d\d:\d\d\.?\d{0,6})\d* .*/tasks/start .*"container_id":"(\w+)"'
)


class Starts:
    """When containers were started, by id, as containerd tells (seconds of the epoch)."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self.times: dict[str, float] = {}

    async def read(self) -> None:
        async for line in self._lines:
            if match := TASK_START.match(line.decode(errors="replace")):
                day, time, container = match.groups()
                at = datetime.fromisoformat(f"{day}T{time}+00:00")
                self.times[container] = at.timestamp()


async def measure() -> list[Measured]:
    if not CONTAINERD_SOCKET.exists():
        raise SystemExit("agent_start needs the embedded node: make up CLUSTER=embedded")
    api = await connect()
    kube = Kube(api, NAMESPACE, lambda: None, agent="codexrun-bench")
    added = []
    try:
        async with container_starts() as starts:
            for _ in range(scale.rounds(ROUNDS)):
                name = f"bench-{uuid.uuid4().hex[:8]}"
                async with run_pod(kube, name) as pod:
                    with_runner = await first_word(kube, pod, starts)
                async with hand_pod(kube, name, pod) as own:
                    by_hand = await first_word(kube, own, starts)
                added.append(with_runner - by_hand)
    finally:
        await api.close()  # type: ignore[no-untyped-call]
    return [Measured("agent_start_seconds", added)]


@asynccontextmanager
async def container_starts() -> AsyncIterator[Starts]:
    process = await asyncio.create_subprocess_exec(
        "ctr",
        f"--address={CONTAINERD_SOCKET}",
        "--namespace=k8s.io",
        "events",
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    starts = Starts(process.stdout)
    reading = asyncio.create_task(starts.read())
    try:
        yield starts
    finally:
        process.terminate()
        await process.wait()
        await reading


@asynccontextmanager
async def run_pod(kube: Kube, name: str) -> AsyncIterator[Json]:
    """Start a run; yields its pod once that has ended."""
    spec = {"jobType": "hello", "inputs": {"name": "world"}}
    run = await kube.create(kube.runs, manifest(name, spec))
    try:
        selector = f"{kube.pods}?labelSelector={RUN_UID_LABEL}%3D{run['metadata']['uid']}"
        yield await ended(kube, selector)
    finally:
        await kube.delete(f"{kube.runs}/{name}", uid=run["metadata"]["uid"])


@asynccontextmanager
async def hand_pod(kube: Kube, name: str, pod: Json) -> AsyncIterator[Json]:
    """Start Codex alone, in a container like the agent's of this pod; yields its pod at its end."""
    spec = pod["spec"]
    (agent,) = (each for each in spec["containers"] if each["name"] == "agent")
    volumes = [volume for volume in spec["volumes"] if "emptyDir" in volume]
    names = {volume["name"] for volume in volumes}
    container = {
        "name": "agent",
        "image": agent["image"],
        "command": list(BY_HAND),
        "env": [{"name": "HOME", "value": "/home/agent"}],
        "workingDir": agent["workingDir"],
        "resources": agent["resources"],
        "securityContext": agent["securityContext"],
        "volumeMounts": [each for each in agent["volumeMounts"] if each["name"] in names],
    }
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": spec["securityContext"],
            "containers": [container],
            "volumes": volumes,
        },
    }
    made = await kube.create(kube.pods, body)
    try:
        yield await ended(kube, f"{kube.pods}?labelSelector=app%3D{name}")
    finally:
        await kube.delete(f"{kube.pods}/{name}", uid=made["metadata"]["uid"])


async def ended(kube: Kube, selector: str) -> Json:
    """Return the one pod of a list, once its containers have ended."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            items: list[Json] = (await kube.get(selector))["items"]
            if items and items[0].get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return items[0]
            await asyncio.sleep(0.2)


async def first_word(kube: Kube, pod: Json, starts: Starts) -> float:
    """Return the seconds from the start of the agent's container to Codex's first event.

    Raises:
        RuntimeError: Codex said nothing.
    """
    (status,) = (s for s in pod["status"]["containerStatuses"] if s["name"] == "agent")
    container = status["containerID"].rpartition("/")[2]
    path = f"{kube.pods}/{pod['metadata']['name']}/log?container=agent&timestamps=true"
    text = b"".join([piece async for piece in kube.stream(path, silence=PATIENCE_SECONDS)]).decode()
    for line in text.splitlines():
        if FIRST_WORD in line:
            stamp = re.sub(r"(\.\d{6})\d*", r"\1", line.split(" ", 1)[0])
            return datetime.fromisoformat(stamp).timestamp() - starts.times[container]
    raise RuntimeError(f"Codex said nothing:\n{text[-2000:]}")

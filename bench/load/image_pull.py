"""What does the operator write about runs whose image cannot be pulled for ten minutes, until they
fail of it? The kubelet's part is played here, at its pace: it is too slow for a stage of kwok."""

# ruff: noqa: T201 - what is written says why it is so much

import asyncio
import time
from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.audit import by_kind, of_user
from simulation.client import Client, Json
from simulation.installation import OPERATOR_USER, job_type
from simulation.plane import Plane, control_plane
from simulation.rounds import Round, create, followed
from simulation.stages import PLAYED
from simulation.subjects import codex_run, pods_path

from codexrun_cluster.chart import NAMESPACE

RUNS = 20
START_SECONDS = 600
NAME = "image-pull"
# Seconds after the first try at which a kubelet tries again (its back-off doubles from 10 s up to
# 300 s), and after how many it says that it backs off.
TRIES = (0, 10, 30, 70, 150, 310)
BACK_OFF_AFTER = 3
IMAGE = "localhost/codexrun-agent:0.1.0"
PULL_ERROR = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": dial tcp'
    " 127.0.0.1:443: connect: connection refused"
)
PULL_BACK_OFF = f'Back-off pulling image "{IMAGE}": ErrImagePull: {PULL_ERROR}'


async def measure(folder: Path) -> list[Measured]:
    with control_plane(folder) as plane:
        return [Measured("image_pull_writes", [await writes_each(plane, scale.count(RUNS))])]


async def writes_each(plane: Plane, count: int) -> float:
    """Return the operator's writes per run; the Job's creation stands for the run's own, which a
    bare Job does not have.

    Raises:
        RuntimeError: a run ended otherwise than because of its image.
    """
    start_seconds = round(scale.seconds(START_SECONDS))
    plane.install()
    spec = job_type(NAME, annotations={PLAYED: "true"})
    spec["spec"]["limits"]["startSeconds"] = start_seconds
    plane.apply([spec])
    plane.start_operator()
    subject = codex_run(NAME)
    client = plane.client()
    result = Round(count, time.monotonic())
    try:
        await plane.idle()
        audit = plane.audit()
        async with followed(client, subject, result):
            await create(client, subject, result, "r", None)
            async with asyncio.TaskGroup() as tasks:
                for name in await scheduled_pods(client, count):
                    tasks.create_task(play_kubelet(client, name, start_seconds))
        await plane.quiet(audit)
        listed = await client.get(subject.path)
    finally:
        await client.close()
    classes = {run["status"].get("failure", {}).get("class") for run in listed["items"]}
    if classes != {"image"}:
        raise RuntimeError(f"failure classes: {classes}")
    writes = [
        write
        for write in of_user(audit.read(), OPERATOR_USER)
        if write.resource != "codexjobtypes/status"
    ]
    print("writes of a run:", by_kind(writes, count))
    return len(writes) / count


async def scheduled_pods(client: Client, count: int) -> list[str]:
    """Return the names of all pods once they have a node."""
    while True:
        listed = await client.get(pods_path(NAMESPACE))
        names = [pod["metadata"]["name"] for pod in listed["items"] if pod["spec"].get("nodeName")]
        if len(names) == count:
            return names
        await asyncio.sleep(0.5)


async def play_kubelet(client: Client, name: str, seconds: int) -> None:
    """Say of the agent's image what a kubelet says, until the pod is given up."""
    began = time.monotonic()
    events: dict[str, int] = {}
    for at in TRIES:
        for pause, reason, message in (
            (0, "ErrImagePull", PULL_ERROR),
            (BACK_OFF_AFTER, "ImagePullBackOff", PULL_BACK_OFF),
        ):
            due = began + at + pause
            if due - began >= seconds:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await client.merge(
                f"{pods_path(NAMESPACE)}/{name}/status", {"status": pull_status(reason, message)}
            )
            await post_event(client, name, reason, message, events)


def pull_status(reason: str, message: str) -> Json:
    waiting = {"waiting": {"reason": reason, "message": message}}
    agent = {"image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "started": False}
    return {
        "phase": "Pending",
        "containerStatuses": [{"name": "agent", **agent, "state": waiting}],
    }


async def post_event(
    client: Client, pod: str, reason: str, message: str, counts: dict[str, int]
) -> None:
    """Write the Warning of a pod, or that it has come again."""
    path = f"/api/v1/namespaces/{NAMESPACE}/events"
    name = f"{pod}.{reason.lower()}"
    counts[reason] = counts.get(reason, 0) + 1
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if counts[reason] > 1:
        await client.merge(f"{path}/{name}", {"count": counts[reason], "lastTimestamp": stamp})
        return
    about = {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": NAMESPACE}
    await client.create(
        path,
        {
            "metadata": {"name": name},
            "involvedObject": about,
            "type": "Warning",
            "reason": "Failed",
            "message": f"Error: {reason}: {message}",
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
        },
    )

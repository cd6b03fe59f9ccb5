"""How much memory does the operator need for 5,000 live runs, beside 50,000 that have ended?

One run of each kind goes its way; the others are copies of what that left, made while no controller
is there that would act on them. Then the operator starts.
"""

import asyncio
import copy
from dataclasses import dataclass
from pathlib import Path

from measured import Measured
from simulation import scale
from simulation.client import Client, Json
from simulation.installation import job_type
from simulation.plane import Plane, control_plane
from simulation.rounds import for_each
from simulation.stages import HELD
from simulation.subjects import codex_run, pods_path, without_controllers

from codexrun_core.runs.label_keys import RUN_NAME_LABEL, RUN_UID_LABEL, job_name
from codexrun_operator.watch.resync import RESYNC_SECONDS

LIVE_RUNS = 5_000
ENDED_RUNS = 50_000
ENDED = "ended"
LIVE = "live"
# What the apiserver sets itself, and refuses or ignores from others.
SERVERS_METADATA = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")


@dataclass(frozen=True)
class Example:
    """A run, its Job and its pod, as they are in the cluster."""

    run: Json
    job: Json
    pod: Json


async def measure(folder: Path) -> list[Measured]:
    with control_plane(folder) as plane:
        return [Measured("many_runs_operator_mb", [await operator_mb(plane)])]


async def operator_mb(plane: Plane) -> float:
    """Return the operator's peak, in MB, from its start until it has listed everything twice."""
    plane.install()
    plane.apply([job_type(ENDED), job_type(LIVE, annotations={HELD: "true"})])
    plane.start_operator()
    client = plane.client()
    try:
        ended = await example(client, ENDED, "Succeeded")
        live = await example(client, LIVE, "Running")
        plane.stop_operator()
        plane.stop_controllers()
        await copies(client, ended, scale.count(ENDED_RUNS))
        await copies(client, live, scale.count(LIVE_RUNS))
    finally:
        await client.close()
    plane.start_operator()
    await plane.until_working()
    await asyncio.sleep(scale.seconds(1.5 * RESYNC_SECONDS))
    await plane.idle()
    return plane.peak_mb("operator")


async def example(client: Client, name: str, phase: str) -> Example:
    """Start a run of the job type, and return what there is when it is in this phase."""
    subject = codex_run(name)
    await client.create(subject.path, subject.build(name))
    while True:
        run = await client.get(f"{subject.path}/{name}")
        job = await of_run(client, subject.jobs, run)
        pod = await of_run(client, pods_path(subject.namespace), run)
        job_conditions = (job or {}).get("status", {}).get("conditions", [])
        job_over = any(each["type"] == "Complete" for each in job_conditions)
        in_phase = run.get("status", {}).get("phase") == phase
        if job and pod and in_phase and job_over == (phase == "Succeeded"):
            return Example(run, job, pod)
        await asyncio.sleep(0.5)


async def of_run(client: Client, path: str, run: Json) -> Json | None:
    selector = f"labelSelector={RUN_UID_LABEL}%3D{run['metadata']['uid']}"
    items: list[Json] = (await client.get(f"{path}?{selector}"))["items"]
    return items[0] if items else None


async def copies(client: Client, original: Example, count: int) -> None:
    name = original.run["metadata"]["name"]
    names = [f"{name}-{number:05d}" for number in range(count)]
    await for_each(names, lambda each: copy_once(client, original, each))


async def copy_once(client: Client, original: Example, name: str) -> None:
    """Make a run, its Job and its pod anew, each with the status of the original."""
    subject = codex_run(original.run["spec"]["jobType"])
    uid = await write(client, subject.path, renamed(original.run, name))
    job = job_name(name, uid, 1)
    labels = {RUN_NAME_LABEL: name, RUN_UID_LABEL: uid}
    job_uid = await write(client, subject.jobs, renamed(original.job, job, labels, name, uid))
    pod = renamed(original.pod, f"{job}-x", labels, job, job_uid)
    await write(client, pods_path(subject.namespace), pod)


def renamed(
    original: Json,
    name: str,
    labels: dict[str, str] | None = None,
    owner: str = "",
    owner_uid: str = "",
) -> Json:
    item = copy.deepcopy(original)
    metadata = item["metadata"]
    for field in SERVERS_METADATA:
        metadata.pop(field, None)
    metadata["name"] = name
    for reference in metadata.get("ownerReferences", []):
        reference |= {"name": owner, "uid": owner_uid}
    for labelled in (metadata, item["spec"].get("template", {}).get("metadata", {})):
        if "labels" in labelled:
            labelled["labels"] = without_controllers(labelled["labels"]) | (labels or {})
    item["spec"].pop("selector", None)  # a Job's, by the controller's labels
    return item


async def write(client: Client, path: str, item: Json) -> str:
    """Create an object and give it its status; return its uid."""
    made = await client.create(path, {key: item[key] for key in item if key != "status"})
    made["status"] = item["status"]
    await client.replace(f"{path}/{made['metadata']['name']}/status", made)
    uid: str = made["metadata"]["uid"]
    return uid

"""Runs in the queue of the real Kueue, whose ClusterQueue has room for one pod."""

import time
from collections.abc import Iterator

import kueue
import manifests
import node_parts
import pytest
from lab import PATIENCE, Json, Lab

pytestmark = pytest.mark.faults

START_SECONDS = 30
LIMITS = {"timeoutSeconds": 120, "stallSeconds": 110, "startSeconds": START_SECONDS}


@pytest.fixture(scope="module")
def real_kueue(lab: Lab) -> Iterator[None]:
    node_parts.skip_elsewhere()
    with kueue.installed(lab):
        yield


@pytest.fixture
def queue(lab: Lab, real_kueue: None) -> Iterator[kueue.Queue]:
    queue = kueue.Queue(lab)
    try:
        queue.create()
        yield queue
    finally:
        queue.delete()


def waits_in_kueue(run: Json) -> bool:
    status = run["status"]
    return (status.get("phase"), status.get("reason")) == ("Starting", "JobSuspended")


def until_suspended(lab: Lab, run: Json) -> None:
    """Wait until the run's Job is suspended, or gone already."""
    deadline = time.monotonic() + PATIENCE
    while not all(job.spec.suspend for job in lab.jobs(run)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_evicted(lab: Lab, queue: kueue.Queue, run: Json, pod: str) -> None:
    """The run has ended as evicted, and nothing of it can start again."""
    status = lab.ended(run)["status"]
    assert (status["phase"], status["failure"]["class"]) == ("Failed", "evicted"), status
    assert status["failure"]["retryable"] is True
    assert "was suspended by a queue controller" in status["failure"]["message"]
    assert status["usage"]["totalTokens"] > 0
    lab.until_no_job(run)
    queue.until_no_workload(run)
    assert {left.metadata.uid for left in lab.pods(run)} <= {pod}
    lab.until_gone(run)


def test_a_run_waits_with_its_slot_until_kueue_has_room(lab: Lab, queue: kueue.Queue) -> None:
    job_type = lab.job_type(concurrencyLimit=2, queueName=queue.name, limits=LIMITS)
    first = lab.in_a_command(lab.run(job_type, "sleep-60"))
    second = lab.until(lab.run(job_type, "message"), waits_in_kueue)
    third = lab.phase(lab.run(job_type, "message"), "Queued")
    assert third["status"]["reason"] == "ConcurrencyLimit"
    assert queue.has_admitted(first)
    assert not queue.has_admitted(second)
    assert lab.pods(second) == []
    assert lab.ended(first)["status"]["phase"] == "Succeeded"
    assert lab.ended(second)["status"]["phase"] == "Succeeded"
    (job,) = lab.jobs(second)
    waited = job.status.start_time - job.metadata.creation_timestamp
    # Had startSeconds begun with the Job, the run would have failed.
    assert waited.total_seconds() > START_SECONDS
    assert lab.ended(third)["status"]["phase"] == "Succeeded"


def test_a_run_that_waits_can_be_cancelled(lab: Lab, queue: kueue.Queue) -> None:
    job_type = lab.job_type(queueName=queue.name, limits=LIMITS)
    first = lab.in_a_command(lab.run(job_type, "sleep-100"))
    second = lab.until(lab.run(job_type, "message"), waits_in_kueue)
    assert len(queue.workloads(second)) == 1
    lab.cancel(second)
    assert lab.ended(second)["status"]["phase"] == "Cancelled"
    lab.until_no_job(second)
    queue.until_no_workload(second)
    assert lab.pods(second) == []
    assert lab.get(first)["status"]["phase"] == "Running"
    lab.cancel(first)
    assert lab.ended(first)["status"]["phase"] == "Cancelled"
    # Kueue has the room again.
    assert lab.ended(lab.run(job_type, "message"))["status"]["phase"] == "Succeeded"


def test_a_run_in_a_queue_that_is_drained_is_evicted_for_good(lab: Lab, queue: kueue.Queue) -> None:
    job_type = lab.job_type(queueName=queue.name, limits=LIMITS)
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    pod = lab.pod(run).metadata.uid
    queue.stop("HoldAndDrain")
    until_suspended(lab, run)
    # At once there is room again: a Job that stays would be resumed.
    queue.stop("None")
    assert_evicted(lab, queue, run, pod)
    assert lab.ended(lab.run(job_type, "message"))["status"]["phase"] == "Succeeded"
    assert lab.jobs(run) == []


def test_an_urgent_run_takes_the_place_of_another(lab: Lab, queue: kueue.Queue) -> None:
    job_type = lab.job_type(
        queueName=queue.name, limits=LIMITS, propagateLabels=[kueue.PRIORITY_LABEL]
    )
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    pod = lab.pod(run).metadata.uid
    urgent = manifests.run(lab.name("urgent"), jobType=job_type, inputs={"scenario": "message"})
    urgent["metadata"]["labels"] = {**lab.mark, kueue.PRIORITY_LABEL: queue.urgent}
    urgent = lab.custom.create_namespaced_custom_object(*lab.run_kind, urgent)
    assert_evicted(lab, queue, run, pod)
    assert lab.ended(urgent)["status"]["phase"] == "Succeeded"
    assert lab.jobs(run) == []

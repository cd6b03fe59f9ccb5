"""The operator in a cluster in small, in any order of events (`hostile_cluster.py`)."""

import os

import pytest
from hostile_cluster import CrowdedCluster, HostileCluster
from hypothesis import settings
from small_cluster import SmallCluster

# The same few courses each time; CODEXRUN_EXAMPLES=1000 looks for new ones.
EXAMPLES = os.environ.get("CODEXRUN_EXAMPLES", "")
MAX_CROWD = 2000 if EXAMPLES else 200


def courses(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
    )


class Crowded(CrowdedCluster):
    most = MAX_CROWD


TestCluster = HostileCluster.TestCase
TestCluster.settings = courses(int(EXAMPLES or 10))
TestCrowd = Crowded.TestCase
TestCrowd.settings = courses(max(2, int(EXAMPLES or 0) // 30))


@pytest.mark.parametrize(
    ("seen", "operator_back"),
    [(True, False), (True, True), (False, True)],
    ids=["it was there", "a new operator", "a new operator, and nobody saw the pod"],
)
def test_a_job_that_is_suspended_and_resumed_starts_no_second_agent(
    seen: bool, operator_back: bool
) -> None:
    cluster = SmallCluster()
    cluster.begin(1)
    cluster.create_run(0)
    cluster.look()
    (job,) = cluster.items(cluster.kube.jobs)
    cluster.add_pod(job)
    if seen:
        cluster.work()
    cluster.suspend(job, suspend=True)
    for _ in range(3):
        cluster.controllers()  # the pod goes before the operator looks
    if operator_back:
        cluster.restart()
    cluster.suspended_jobs_are_resumed()
    for resumed in cluster.jobs(with_pod=False):
        cluster.add_pod(resumed)
    cluster.never_two_agents()
    (run,) = cluster.items(cluster.kube.runs)
    assert run["status"]["failure"]["class"] == "evicted"
    cluster.close()


def test_a_job_that_is_created_suspended_runs_once_it_is_resumed() -> None:
    cluster = SmallCluster()
    cluster.begin(1)
    cluster.create_run(0)
    cluster.create_run(0)
    cluster.work()
    (job,) = cluster.items(cluster.kube.jobs)
    cluster.suspend(job, suspend=True)
    cluster.look()
    cluster.look()
    first, second = cluster.items(cluster.kube.runs)
    assert (first["status"]["phase"], first["status"]["reason"]) == ("Starting", "JobSuspended")
    assert second["status"]["phase"] == "Queued"
    cluster.suspended_jobs_are_resumed()
    cluster.add_pod(job)
    cluster.work()
    first, _ = cluster.items(cluster.kube.runs)
    assert first["status"]["phase"] == "Running"
    cluster.teardown()

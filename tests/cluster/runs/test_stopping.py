"""Cancelled means gone: every way to stop a run, seen from outside."""

from collections.abc import Iterator

import pytest
from kubernetes import watch
from lab import NAMESPACE, Json, Lab, condition


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=8)


def test_cancel_of_a_running_run(lab: Lab, job_type: str) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    lab.cancel(run, by="ops", reason="wrong branch")
    phases = []
    for version in lab.versions(run):
        phases.append(version["status"]["phase"])
        if phases[-1] == "Cancelled":
            # From outside, at the very event: a run is shown as cancelled only when its pod is
            # gone.
            assert lab.pods(run) == []
            break
    assert phases[-2:] == ["Stopping", "Cancelled"]
    status = lab.get(run)["status"]
    assert (status["reason"], status["message"]) == (
        "CancelRequested",
        "Cancelled by ops: wrong branch",
    )
    assert status["usage"]["totalTokens"] > 0
    assert status["usage"]["complete"] is True
    assert condition(lab.get(run), "Cancelled")["status"] == "True"
    assert "failure" not in status


def test_the_agent_was_asked_by_sigterm_and_obeyed(lab: Lab, job_type: str) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    name = lab.pod(run).metadata.name
    lab.cancel(run)
    stream: Iterator[Json] = watch.Watch().stream(
        lab.core.list_namespaced_pod,
        NAMESPACE,
        field_selector=f"metadata.name={name}",
        timeout_seconds=120,
    )
    last = None
    for event in stream:
        last = event["object"]
        if event["type"] == "DELETED":
            break
    assert last is not None
    (agent,) = last.status.container_statuses
    assert agent.state.terminated.exit_code == 143
    lab.ended(run)


def test_cancel_of_a_queued_run_needs_no_pod(lab: Lab) -> None:
    job_type = lab.job_type(suspended=True)
    run = lab.phase(lab.run(job_type, "hello"), "Queued")
    lab.cancel(run)
    assert lab.ended(run)["status"]["phase"] == "Cancelled"
    assert lab.jobs(run) == []


def test_cancel_before_the_pod_has_a_node(lab: Lab) -> None:
    job_type = lab.job_type(podTemplate={"nodeSelector": {"disk": "none"}})
    run = lab.until(
        lab.run(job_type, "hello"), lambda r: r["status"].get("reason") == "Unschedulable"
    )
    lab.cancel(run)
    ended = lab.ended(run)
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Cancelled", "CancelRequested")
    assert lab.pods(run) == []
    lab.until_no_job(run)


def test_cancel_of_a_finished_run_changes_nothing(lab: Lab, job_type: str) -> None:
    run = lab.ended(lab.run(job_type, "message"))
    before = run["status"]
    patched = lab.cancel(run)
    assert patched["spec"]["cancel"]["requestedBy"] == "tests"
    # Another run through the same operator, start to end: it has had its chance to do wrong.
    lab.ended(lab.run(job_type, "message"))
    assert lab.get(run)["status"] == before


def test_a_pod_deleted_by_hand_cancels_its_run(lab: Lab, job_type: str) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    lab.core.delete_namespaced_pod(lab.pod(run).metadata.name, NAMESPACE)
    status = lab.ended(run)["status"]
    assert (status["phase"], status["reason"]) == ("Cancelled", "PodDeleted"), status
    assert status["usage"]["totalTokens"] > 0
    assert lab.pods(run) == []


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_a_job_deleted_by_hand_cancels_its_run_and_leaves_no_pod(
    lab: Lab, job_type: str, policy: str
) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    (job,) = lab.jobs(run)
    lab.batch.delete_namespaced_job(job.metadata.name, NAMESPACE, propagation_policy=policy)
    status = lab.ended(run)["status"]
    assert status["phase"] == "Cancelled", status
    assert status["reason"] in ("JobDeleted", "PodDeleted")
    lab.until_gone(run)


def test_a_run_deleted_while_live_takes_its_pod_along(lab: Lab, job_type: str) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    lab.kubectl("delete", "cxr", run["metadata"]["name"], "--wait=false")
    lab.until_gone(run)
    assert lab.jobs(run) == []


def test_a_run_deleted_as_orphan_is_swept(lab: Lab, job_type: str) -> None:
    run = lab.in_a_command(lab.run(job_type, "sleep-100"))
    lab.kubectl("delete", "cxr", run["metadata"]["name"], "--cascade=orphan", "--wait=false")
    lab.until_gone(run)
    lab.until_no_job(run)


def test_a_finished_run_expires(lab: Lab, job_type: str) -> None:
    run = lab.run(job_type, "message", ttlSecondsAfterFinished=1)
    lab.ended(run)
    lab.kubectl("wait", "--for=delete", f"cxr/{run['metadata']['name']}", "--timeout=60s")


def test_a_retry_links_to_what_it_repeats(lab: Lab, job_type: str) -> None:
    first = lab.ended(lab.run(job_type, "no-message"))
    assert first["status"]["failure"] == {
        "class": "silent_death",
        "message": first["status"]["failure"]["message"],
        "exitCode": 0,
        "retryable": True,
    }
    metadata = first["metadata"]
    link = {"name": metadata["name"], "uid": metadata["uid"]}
    second = lab.ended(lab.run(job_type, "message", retryOf=link))
    assert second["status"]["phase"] == "Succeeded"
    assert second["spec"]["retryOf"] == link
    assert lab.get(first)["status"] == first["status"]


def test_a_run_resumes_no_thread_of_another_job_type(lab: Lab, job_type: str) -> None:
    first = lab.ended(lab.run(job_type, "message"))
    metadata = first["metadata"]
    link = {"name": metadata["name"], "uid": metadata["uid"], "resume": True}
    second = lab.ended(lab.run(lab.job_type(), "message", retryOf=link))
    status = second["status"]
    assert (status["phase"], status["reason"]) == ("Rejected", "ResumeNotAllowed")
    assert f"the job type of the earlier run is {job_type}" in status["message"]


def test_the_end_of_a_copy_of_its_job_is_not_the_run_s(lab: Lab, job_type: str) -> None:
    """What `kubectl get job -o yaml | sed | kubectl create -f -` makes, suspended so that it has no
    pod."""
    run = lab.in_a_command(lab.run(job_type, "sleep-20"))
    (job,) = lab.jobs(run)
    container = {"name": "agent", "image": "none"}
    copy = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"copy-{job.metadata.name}", "labels": job.metadata.labels},
        "spec": {
            "suspend": True,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
    lab.batch.create_namespaced_job(NAMESPACE, copy)
    lab.batch.delete_namespaced_job(
        copy["metadata"]["name"], NAMESPACE, propagation_policy="Background"
    )
    ended = lab.ended(run)
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Succeeded", "Completed")
    assert ended["status"]["jobName"] == job.metadata.name

"""Runs beside what others install in a cluster: queue controllers, meshes, runtime classes."""

import contextlib
import json
import time

import pytest
from kubernetes.client import ApiException
from lab import NAMESPACE, Json, Lab
from patches import patched_at_creation

SUSPENDED = {"op": "add", "path": "/spec/suspend", "value": True}


def resume(lab: Lab, run: Json) -> None:
    (job,) = lab.jobs(run)
    lab.batch.patch_namespaced_job(job.metadata.name, NAMESPACE, {"spec": {"suspend": False}})


def suspend(lab: Lab, run: Json) -> None:
    (job,) = lab.jobs(run)
    lab.batch.patch_namespaced_job(job.metadata.name, NAMESPACE, {"spec": {"suspend": True}})


def test_a_job_that_is_created_suspended_waits_with_its_slot_and_then_runs(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1, queueName="team-a", limits={"startSeconds": 30})
    with patched_at_creation(lab, "jobs", job_type, SUSPENDED):
        first = lab.run(job_type, "message")
        lab.until(first, lambda run: run["status"].get("reason") == "JobSuspended")
        second = lab.phase(lab.run(job_type, "message"), "Queued")
        (job,) = lab.jobs(first)
        assert job.metadata.labels["kueue.x-k8s.io/queue-name"] == "team-a"
        assert lab.pods(first) == []
        # Longer than startSeconds, which begin when it is resumed.
        age = time.time() - job.metadata.creation_timestamp.timestamp()
        with pytest.raises(AssertionError):
            lab.until(
                first,
                lambda run: run["status"].get("reason") != "JobSuspended",
                patience=max(1, 35 - age),
            )
        assert lab.get(first)["status"]["phase"] == "Starting"
        assert lab.get(second)["status"]["phase"] == "Queued"
        resume(lab, first)
        assert lab.ended(first)["status"]["phase"] == "Succeeded"
        lab.until(second, lambda run: run["status"].get("reason") == "JobSuspended")
        resume(lab, second)
        assert lab.ended(second)["status"]["phase"] == "Succeeded"


def test_a_suspended_job_can_be_cancelled(lab: Lab) -> None:
    job_type = lab.job_type()
    with patched_at_creation(lab, "jobs", job_type, SUSPENDED):
        run = lab.run(job_type, "message")
        lab.until(run, lambda run: run["status"].get("reason") == "JobSuspended")
        lab.cancel(run)
        assert lab.ended(run)["status"]["phase"] == "Cancelled"
        lab.until_no_job(run)
        assert lab.pods(run) == []


def test_a_job_suspended_while_its_agent_runs_is_evicted_and_starts_no_second_agent(
    lab: Lab,
) -> None:
    run = lab.in_a_command(lab.run(lab.job_type(), "sleep-100"))
    (pod,) = lab.pods(run)
    suspend(lab, run)
    lab.phase(run, "Stopping", "Failed")
    with contextlib.suppress(ApiException, ValueError):  # it is gone already
        resume(lab, run)  # as a queue controller does when there is room again
    status = lab.ended(run)["status"]
    assert (status["phase"], status["failure"]["class"]) == ("Failed", "evicted"), status
    assert status["failure"]["retryable"] is True
    assert status["usage"]["totalTokens"] > 0
    lab.until_no_job(run)
    assert {left.metadata.uid for left in lab.pods(run)} <= {pod.metadata.uid}
    lab.until_gone(run)


def test_a_container_of_a_mesh_that_never_ends_keeps_no_slot(lab: Lab) -> None:
    job_type = lab.job_type()
    image = (
        lab.apps.read_namespaced_deployment("codexrun-operator", NAMESPACE)
        .spec.template.spec.containers[0]
        .image
    )
    mesh = {
        "name": "mesh",
        "image": image,
        "command": ["sleep", "86400"],
        "securityContext": {
            "runAsUser": 10003,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    with patched_at_creation(
        lab, "pods", job_type, {"op": "add", "path": "/spec/containers/-", "value": mesh}
    ):
        run = lab.run(job_type, "message")
        stopping = lab.until(run, lambda run: run["status"]["phase"] in ("Stopping", "Succeeded"))
        assert "mesh" in stopping["status"]["message"], stopping["status"]
        status = lab.ended(run)["status"]
        assert status["phase"] == "Succeeded", status
        assert status["usage"]["totalTokens"] > 0
        lab.until_gone(run)


def test_a_node_without_the_handler_of_a_runtime_class_is_named(lab: Lab) -> None:
    name = lab.name("runtime")
    runtime = {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name},
        "handler": "nowhere",
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(runtime))
    try:
        job_type = lab.job_type(runtimeClassName=name, limits={"startSeconds": 40})
        run = lab.run(job_type, "message")
        shown = lab.until(run, lambda run: run["status"].get("reason") == "SandboxRefused")
        assert "runtimeClassName" in shown["status"]["message"]
        assert lab.ended(run)["status"]["failure"]["class"] == "config"
    finally:
        lab.kubectl("delete", "runtimeclass", name)

"""What a node does to pods: gates die, disks fill, nodes vanish. On the embedded node only: these
tests kill processes."""

import os
import signal
from datetime import UTC, datetime

import pytest
from lab import NAMESPACE, Lab, processes


def disrupted() -> dict[str, str]:
    """As of now: one that is older than two minutes, with the pod still there, Kubernetes takes
    back."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def test_a_killed_gate_comes_back_and_forgets_nothing(lab: Lab) -> None:
    run = lab.in_a_command(lab.run(lab.job_type(), "sleep-12"))
    (gate,) = lab.gates(run)
    os.kill(gate, signal.SIGKILL)
    status = lab.ended(run)["status"]
    assert status["phase"] == "Succeeded", status
    assert status["usage"]["requests"] >= 2
    restarts = lab.pod(run).status.init_container_statuses[-1].restart_count
    assert restarts == 1


@pytest.mark.disruptive
def test_a_workspace_that_fills_ends_in_class_storage(lab: Lab) -> None:
    """The kubelet's own eviction would lose the gate's record; the runner must be faster."""
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    fill = "for i in $(seq 90); do fallocate -l 100M fill.$i; done; sleep 60"
    run = lab.ended(lab.run(lab.job_type(prompt=prompt), inputs={"command": fill}))
    assert run["status"]["failure"]["class"] == "storage", run["status"]
    assert run["status"]["usage"]["complete"] is True


def test_an_evicted_pod_fails_its_run(lab: Lab) -> None:
    run = lab.in_a_command(lab.run(lab.job_type(), "sleep-100"))
    name = lab.pod(run).metadata.name
    lab.core.create_namespaced_pod_eviction(
        name, NAMESPACE, {"metadata": {"name": name, "namespace": NAMESPACE}}
    )
    status = lab.ended(run)["status"]
    assert status["failure"]["class"] == "evicted", status
    assert status["failure"]["retryable"] is True
    assert status["usage"]["totalTokens"] > 0


@pytest.mark.disruptive
def test_a_lost_node_holds_the_slot_until_an_admin_frees_it(lab: Lab) -> None:
    """The kubelet is stopped, as a dead machine stops; it is let go on at the end.

    The eviction is the test's, step by step as the taint manager does it: that waits until the node
    has been silent for two minutes.
    """
    job_type = lab.job_type(concurrencyLimit=1)
    run = lab.phase(lab.run(job_type, "sleep-300"), "Running")
    waiting = lab.phase(lab.run(job_type, "message"), "Queued")
    (kubelet,) = processes("codexrun-node", " kubelet ")
    os.kill(kubelet, signal.SIGSTOP)
    try:
        name = lab.pod(run).metadata.name
        lab.core.patch_namespaced_pod_status(
            name, NAMESPACE, {"status": {"conditions": [disrupted()]}}
        )
        lab.core.delete_namespaced_pod(name, NAMESPACE)
        lost = lab.until(run, lambda r: r["status"]["phase"] == "Stopping", patience=300)
        assert lost["status"]["reason"] == "NodeLost"
        assert lab.get(waiting)["status"]["phase"] == "Queued"
        lab.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        status = lab.ended(run)["status"]
        assert (status["phase"], status["failure"]["class"]) == ("Failed", "node_lost")
    finally:
        os.kill(kubelet, signal.SIGCONT)
    lab.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
    lab.kubectl("rollout", "status", "deployment/codexrun-operator", "--timeout=180s")
    assert lab.ended(waiting, patience=300)["status"]["phase"] == "Succeeded"

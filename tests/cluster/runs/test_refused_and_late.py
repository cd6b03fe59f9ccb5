"""What the operator must not do when the cluster is slow or says no: reject, forget the order, or
start what is over."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab import Json, Lab
from slot_observer import SlotObserver


def place(run: Json) -> tuple[str, str]:
    """Kubernetes dates in whole seconds; within one the uid decides."""
    return run["metadata"]["creationTimestamp"], run["metadata"]["uid"]


def ready(lab: Lab, job_type: str) -> Json:
    found = json.loads(lab.kubectl("get", "cjt", job_type, "-o", "json").stdout)
    condition: Json = next(c for c in found["status"]["conditions"] if c["type"] == "Ready")
    return condition


def test_no_job_of_a_cancelled_run_is_left_alive_when_many_are_cancelled_while_slots_become_free(
    lab: Lab,
) -> None:
    job_type = lab.job_type(concurrencyLimit=3)
    with SlotObserver(lab, job_type) as outside:
        runs = [lab.run(job_type, "sleep-1", stem="bulk") for _ in range(50)]
        lab.phase(runs[0], "Running", "Succeeded")
        cancels = [threading.Thread(target=lab.cancel, args=(run,)) for run in reversed(runs)]
        for thread in cancels:
            thread.start()
        for thread in cancels:
            thread.join()
        ended = [lab.ended(run) for run in runs]
        assert {run["status"]["phase"] for run in ended} <= {"Cancelled", "Succeeded"}
        assert any(run["status"]["phase"] == "Cancelled" for run in ended)
        never_started = [run for run in ended if not run["status"].get("attempt")]
        for run in never_started:
            assert run["metadata"]["uid"] not in outside.jobs_of, run["metadata"]["name"]
        for run in ended:
            lab.until_no_live_job(run)
        assert outside.most <= 3


@contextmanager
def jobs_denied(lab: Lab, job_type: str) -> Iterator[None]:
    """A ValidatingAdmissionPolicy of the whole cluster that denies the Jobs of one job type."""
    name = f"no-jobs-of-{job_type}"
    selector = {"matchLabels": {"codexrun.dev/job-type": job_type}}
    rule = {
        "apiGroups": ["batch"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["jobs"],
    }
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule], "objectSelector": selector},
            "validations": [{"expression": "false", "message": "no Jobs at night"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    lab.kubectl(
        "apply",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}),
    )
    try:
        yield
    finally:
        lab.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)


def test_jobs_that_a_policy_denies_for_a_while_are_held_and_then_run_in_order(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1, suspended=True)
    runs = [lab.run(job_type, "message", stem="held") for _ in range(4)]
    for run in runs:
        lab.phase(run, "Queued")
    with jobs_denied(lab, job_type):
        # A policy takes a moment to be in force: a Job that is only tried says when.
        lab.until_denied(job_type)
        lab.kubectl(
            "patch",
            "cjt",
            job_type,
            "--type=merge",
            "-p",
            json.dumps({"spec": {"suspended": False}}),
        )
        lab.kubectl("wait", f"cjt/{job_type}", "--for=condition=Ready=False", "--timeout=60s")
        assert ready(lab, job_type)["reason"] == "JobDenied"
        assert "no Jobs at night" in ready(lab, job_type)["message"]
        runs.sort(key=place)
        held = lab.until(runs[0], lambda run: run["status"].get("reason") == "JobTypeHeld")
        assert held["status"]["phase"] == "Queued"
        assert "no Jobs at night" in held["status"]["message"]
        refused = lab.run(job_type, "message", whenFull="Reject")
        assert lab.ended(refused)["status"]["reason"] == "JobTypeHeld"
        assert not any(lab.jobs(run) for run in runs)
    ended = [lab.ended(run)["status"] for run in runs]
    assert {status["phase"] for status in ended} == {"Succeeded"}
    # One that tried while the first had just been refused may go before it; nobody else goes out of
    # turn.
    starts = [status["startedAt"] for status in ended]
    assert starts[2:] == sorted(starts[2:])
    assert max(starts[:2]) <= min(starts[2:])
    lab.kubectl("wait", f"cjt/{job_type}", "--for=condition=Ready=True", "--timeout=60s")

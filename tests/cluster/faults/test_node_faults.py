"""The node's own parts killed or stopped for minutes, the apiserver restarted, etcd put back, the
operator killed fifty times. `make faults` runs this, and nothing else does; on the embedded node.
"""

import os
import signal
import time
from pathlib import Path

import node_parts
import pytest
from kubernetes import watch
from lab import NAMESPACE, TERMINAL, Lab
from node_parts import AWAY_SECONDS
from own_operator import DEPLOYMENT, SELECTOR, operator_of_our_own
from slot_observer import SlotObserver

pytestmark = pytest.mark.faults

RUNS_IN_ALL = 30
KILLS = 50
LIMITS = {"timeoutSeconds": 900, "stallSeconds": 600, "startSeconds": 600}


@pytest.fixture(autouse=True)
def on_the_embedded_node() -> None:
    node_parts.skip_elsewhere()


def until_the_node_is_well(lab: Lab) -> None:
    lab.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s")
    lab.kubectl("rollout", "status", DEPLOYMENT, "--timeout=300s")


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("part", ["containerd", "kubelet"])
def test_a_part_of_the_node_that_is_away_for_two_minutes_costs_no_run(
    lab: Lab, part: str, how: str
) -> None:
    """The agent goes on, ends meanwhile, and what it has used is read when the part is back.

    Without the kubelet the pod is evicted meanwhile, and keeps its slot.
    """
    job_type = lab.job_type(concurrencyLimit=1, limits=LIMITS)
    with SlotObserver(lab, job_type) as outside:
        run = lab.in_a_command(lab.run(job_type, "sleep-12"))
        waiting = lab.phase(lab.run(job_type, "message"), "Queued")
        away = node_parts.killed(part) if how == "killed" else node_parts.frozen(part)
        with away:
            time.sleep(AWAY_SECONDS)  # it is the fault itself
            assert lab.get(waiting)["status"]["phase"] == "Queued"
            status = lab.get(run)["status"]
            assert status["phase"] == "Running" or status["reason"] == "NodeLost", status
        until_the_node_is_well(lab)
        first, second = node_parts.all_ended(lab, [run, waiting])
        assert (first["phase"], second["phase"]) == ("Succeeded", "Succeeded"), first
        assert first["usage"]["complete"] is True
        assert first["usage"]["requests"] >= 2
        assert outside.most == 1
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}


def test_a_drained_node_fails_what_ran_and_starts_the_rest_when_it_is_back(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=2, limits=LIMITS)
    (node,) = lab.core.list_node().items
    name = node.metadata.name
    with SlotObserver(lab, job_type) as outside:
        running = [lab.in_a_command(lab.run(job_type, "sleep-100")) for _ in range(2)]
        waiting = [lab.phase(lab.run(job_type, "message"), "Queued") for _ in range(2)]
        try:
            lab.kubectl(
                "drain",
                name,
                "--ignore-daemonsets",
                "--delete-emptydir-data",
                f"--pod-selector=codexrun.dev/job-type={job_type}",
                "--timeout=120s",
            )
            evicted = node_parts.all_ended(lab, running)
            assert [status["failure"]["class"] for status in evicted] == ["evicted", "evicted"]
            assert all(status["failure"]["retryable"] for status in evicted)
            assert all(status["usage"]["totalTokens"] > 0 for status in evicted)
            for run in waiting:
                lab.until(run, lambda run: run["status"].get("reason") == "Unschedulable")
            # The operator goes from the node too, and there is no place for another.
            lab.kubectl("delete", "pod", "-l", SELECTOR, "--wait=true")
        finally:
            lab.kubectl("uncordon", name)
        until_the_node_is_well(lab)
        ended = node_parts.all_ended(lab, waiting)
        assert [status["phase"] for status in ended] == ["Succeeded", "Succeeded"]
        assert outside.most <= 2


def test_an_apiserver_that_is_killed_five_times_costs_no_run(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=3, limits=LIMITS)
    with SlotObserver(lab, job_type) as outside:
        runs = [lab.run(job_type, "sleep-1", stem="restarted") for _ in range(12)]
        for number in range(5):
            # Each time somewhere else in the life of another run.
            node_parts.until_status(lab, runs[2 * number], lambda status: "attempt" in status)
            node_parts.kill("kube-apiserver")
            node_parts.start("kube-apiserver")
        statuses = node_parts.all_ended(lab, runs)
        assert {status["phase"] for status in statuses} == {"Succeeded"}
        assert {status["usage"]["complete"] for status in statuses} == {True}
        assert outside.most <= 3
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}


def test_fifty_kills_of_the_operator_while_the_limit_goes_from_3_to_1_to_5(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=3, limits=LIMITS)
    limits = LimitSteps(lab, job_type)
    with operator_of_our_own(lab) as operator, SlotObserver(lab, job_type) as outside:
        operator.start()
        runs = [lab.run(job_type, "sleep-1", stem="fifty") for _ in range(RUNS_IN_ALL)]
        ended: set[str] = set()
        versions: set[str] = set()
        kills = 0
        while len(ended) < RUNS_IN_ALL:
            operator.ensure()
            stream = watch.Watch().stream(
                lab.custom.list_namespaced_custom_object,
                *lab.run_kind,
                field_selector=f"spec.jobType={job_type}",
                timeout_seconds=10,
            )
            for event in stream:
                run = event["object"]
                if run["status"]["phase"] in TERMINAL:
                    ended.add(run["metadata"]["name"])
                limits.step(len(ended), outside)
                versions.add(run["metadata"]["resourceVersion"])
                if kills < KILLS and len(versions) >= RUNS_IN_ALL + kills + 1:
                    kills += 1
                    operator.kill()
                    operator.start()
                if len(ended) == RUNS_IN_ALL:
                    break
        assert kills == KILLS
        assert limits.limit == 5
        assert outside.most <= limits.limit
        statuses = [lab.get(run)["status"] for run in runs]
        assert [status["phase"] for status in statuses] == ["Succeeded"] * RUNS_IN_ALL
        assert len({status["usage"]["totalTokens"] for status in statuses}) == 1
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}
        assert len(outside.jobs_of) == RUNS_IN_ALL


class LimitSteps:
    """3 slots; 1 when ten runs have ended; 5 when five more have. After each step no more are taken
    than it allows, once those that had begun before it have ended."""

    def __init__(self, lab: Lab, job_type: str) -> None:
        self.limit = 3
        self._lab = lab
        self._job_type = job_type
        self._shrinking = False

    def step(self, ended: int, outside: SlotObserver) -> None:
        if self._shrinking:
            if outside.taken <= self.limit:
                self._shrinking = False
                outside.count_anew()
        else:
            assert outside.most <= self.limit
        if self.limit == 3 and ended >= 10:
            self._set(1)
            self._shrinking = True
        elif self.limit == 1 and not self._shrinking and ended >= 15:
            self._set(5)

    def _set(self, limit: int) -> None:
        self.limit = limit
        patch = f'{{"spec":{{"concurrencyLimit":{limit}}}}}'
        self._lab.kubectl("patch", "cjt", self._job_type, "--type=merge", "-p", patch)


def test_an_etcd_that_is_put_back_under_a_live_operator(lab: Lab, tmp_path: Path) -> None:
    """What began after the backup is unknown afterwards; what ran goes on, and its slot is
    counted."""
    backup = tmp_path / "etcd"
    job_type = lab.job_type(concurrencyLimit=2, limits=LIMITS)
    before = lab.ended(lab.run(job_type, "message"))
    running = lab.in_a_command(lab.run(job_type, "sleep-300"))
    node_parts.back_up(backup)
    until_the_node_is_well(lab)
    restarts = operator_restarts(lab)
    after = lab.run(job_type, "message")
    (status,) = node_parts.all_ended(lab, [after])
    assert status["phase"] == "Succeeded"
    node_parts.restore(backup)
    until_the_node_is_well(lab)
    until_the_operator_has_restarted(lab, restarts)
    shown = lab.kubectl("get", "cxr", after["metadata"]["name"], check=False)
    assert "NotFound" in shown.stderr
    assert lab.get(before)["status"] == before["status"]
    assert lab.get(running)["status"]["phase"] == "Running"
    with SlotObserver(lab, job_type) as outside:
        more = [lab.run(job_type, "message") for _ in range(3)]
        assert {status["phase"] for status in node_parts.all_ended(lab, more)} == {"Succeeded"}
        assert outside.most <= 2
    lab.cancel(running)
    (status,) = node_parts.all_ended(lab, [running])
    assert status["phase"] == "Cancelled"
    lab.until_gone(running)


def operator_restarts(lab: Lab) -> int:
    """Return how often its containers have ended, over all its pods."""
    pods = lab.core.list_namespaced_pod(NAMESPACE, label_selector=SELECTOR).items
    return sum(state.restart_count for pod in pods for state in pod.status.container_statuses or [])


def until_the_operator_has_restarted(lab: Lab, restarts: int) -> None:
    deadline = time.monotonic() + node_parts.PATIENCE_SECONDS
    while operator_restarts(lab) <= restarts:
        assert time.monotonic() < deadline
        time.sleep(node_parts.LOOK_SECONDS)
    lab.kubectl("rollout", "status", DEPLOYMENT, "--timeout=300s")


def test_a_frozen_operator_that_wakes_up_writes_nothing_before_it_has_the_lease(lab: Lab) -> None:
    """Its monotonic clock has gone on, and another has the lease: of what it had in hand nothing is
    written."""
    job_type = lab.job_type(concurrencyLimit=1, limits=LIMITS)
    with operator_of_our_own(lab) as first, SlotObserver(lab, job_type) as outside:
        first.start()
        run = lab.in_a_command(lab.run(job_type, "sleep-12"))
        assert first.process is not None
        os.kill(first.process.pid, signal.SIGSTOP)
        second = type(first)({**first.env, "CODEXRUN_POD_NAME": "operator-second"})
        second.start()
        try:
            waiting = lab.run(job_type, "message")
            node_parts.all_ended(lab, [run, waiting])
            os.kill(first.process.pid, signal.SIGCONT)
            assert first.process.wait(timeout=60) == 1  # lease.lost
            more = lab.ended(lab.run(job_type, "message"))
            assert more["status"]["phase"] == "Succeeded"
        finally:
            second.kill()
        assert outside.most == 1
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}

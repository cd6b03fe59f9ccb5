"""Every call that changes something, in the lives of three runs, fails in every way, once; and the
operator is killed before and after each.

Whatever happens, all ends as it ends without it: no more runs than the limit at any instant, no
second Job, usage counted once, and nothing left over (`small_cluster.py` holds all that).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_kube import FakeKube
from small_cluster import Killed, SmallCluster

from codexrun_core.errors import Conflict, Refused, Unavailable

Json = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What is raised instead of an answer; `after` the call has taken effect."""

    name: str
    error: Exception
    after: bool = False


FAULTS = (
    Fault("401", Refused(401, "Unauthorized", "Unauthorized")),
    Fault("403 of RBAC", Refused(403, "Forbidden", 'jobs is forbidden: User "u" cannot create')),
    Fault(
        "403 of a webhook",
        Refused(403, "Forbidden", 'admission webhook "w" denied the request: no'),
    ),
    Fault("409", Conflict(409, "Conflict", "the object has been modified")),
    Fault("422", Refused(422, "Invalid", "spec.template: Invalid value")),
    Fault("429, 500, a hang or a reset", Unavailable("HTTP 500")),
    Fault("the answer is lost", Unavailable("reset"), after=True),
    Fault("killed before", Killed()),
    Fault("killed after", Killed(), after=True),
)


class FaultyKube(FakeKube):
    """Numbers the calls that change something, from 1; the one `at` fails once."""

    def __init__(self, at: int = 0, fault: Fault = FAULTS[0]) -> None:
        super().__init__()
        self.at = at
        self.fault = fault
        self.number = 0
        self.made: list[str] = []  # verb and kind of each call

    def _do(self, verb: str, path: str, body: Json, work: Callable[[], Json]) -> Json:
        self.number += 1
        self.made.append(f"{verb} {path.removeprefix('/api').split('codexrun/', 1)[-1]}")
        fails = self.number == self.at
        if fails and not self.fault.after:
            raise self.fault.error
        answer = super()._do(verb, path, body, work)
        if fails:
            raise self.fault.error
        return answer


class Lives(SmallCluster):
    """Two slots and three runs: one succeeds, one is cancelled while it runs, one waits and then
    fails."""

    kube: FaultyKube

    def live(self) -> dict[str, tuple[str, str, int]]:
        """Return how each run has ended: phase, reason, tokens."""
        self.begin(limit=2)
        for _ in range(3):
            self.create_run(priority=0)
            self.turn()
        self.cancel("run-2")
        self.turn()
        self.end_pod("run-1", well=True)
        self.turn()
        self.turn()
        self.end_pod("run-3", well=False)
        self.turn()
        self.finish_everything()
        self.never_more_than_the_limit()
        self.never_two_jobs()
        self.no_job_for_a_run_that_is_over()
        return {
            run["metadata"]["name"]: (
                run["status"]["phase"],
                run["status"]["reason"],
                (run["status"].get("usage") or {}).get("totalTokens", 0),
            )
            for run in self.items(self.kube.runs)
        }

    def turn(self) -> None:
        """The operator works, Kubernetes does, and each fresh Job gets its pod."""
        for _ in range(3):
            self.look()
            self.never_more_than_the_limit()
            for job in self.jobs(with_pod=False):
                if not (job.get("status") or job["spec"].get("suspend")):
                    self.add_pod(job)
            self.never_more_than_the_limit()

    def cancel(self, name: str) -> None:
        run = self.kube.objects[f"{self.kube.runs}/{name}"]
        run["spec"]["cancel"] = {"requestedBy": "ops"}
        self.change(f"{self.kube.runs}/{name}", run)

    def end_pod(self, run: str, *, well: bool) -> None:
        for pod in self.pod_objects(phase="Running"):
            if pod["metadata"]["labels"]["codexrun.dev/run"] == run:
                self.end_by_itself(pod, well=well)


def lives(at: int = 0, fault: Fault = FAULTS[0]) -> Lives:
    class One(Lives):
        @staticmethod
        def make_kube() -> FakeKube:
            return FaultyKube(at, fault)

    return One()


def clean() -> tuple[dict[str, tuple[str, str, int]], list[str]]:
    cluster = lives()
    try:
        return cluster.live(), cluster.kube.made
    finally:
        cluster.close()


ENDS, CALLS = clean()


def test_without_a_fault_each_run_ends_as_it_should() -> None:
    assert ENDS == {
        "run-1": ("Succeeded", "Completed", 110),
        "run-2": ("Cancelled", "CancelRequested", 110),
        "run-3": ("Failed", "SilentDeath", 110),
    }


# The calls differ after a fault; what comes after the last of a life without one never happens.
EVERY = [
    pytest.param(at, fault, id=f"{at} {call}: {fault.name}")
    for fault in FAULTS
    for at, call in enumerate(CALLS, start=1)
]


@pytest.mark.parametrize(("at", "fault"), EVERY)
def test_whatever_call_fails_in_whatever_way_all_ends_as_without_it(at: int, fault: Fault) -> None:
    cluster = lives(at, fault)
    try:
        assert cluster.live() == ENDS
        assert cluster.kube.number >= at
    finally:
        cluster.close()

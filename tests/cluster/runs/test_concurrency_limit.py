"""The concurrency limit holds at every instant, whoever dies meanwhile."""

import pytest
from kubernetes import watch
from lab import NAMESPACE, TERMINAL, Lab
from own_operator import operator_of_our_own
from slot_observer import SlotObserver

LIMIT = 3
RUNS_IN_ALL = 30
KILLS = 10


@pytest.mark.disruptive
def test_thirty_runs_three_slots_and_an_operator_killed_ten_times(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=LIMIT)
    with operator_of_our_own(lab) as operator, SlotObserver(lab, job_type) as outside:
        operator.start()
        runs = [lab.run(job_type, "sleep-1", stem="slot") for _ in range(RUNS_IN_ALL)]
        selector = f"spec.jobType={job_type}"
        ended: set[str] = set()
        changes = kills = 0
        while len(ended) < RUNS_IN_ALL:
            stream = watch.Watch().stream(
                lab.custom.list_namespaced_custom_object,
                "codexrun.dev",
                "v1alpha1",
                NAMESPACE,
                "codexruns",
                field_selector=selector,
                timeout_seconds=60,
            )
            for event in stream:
                run = event["object"]
                if run["status"]["phase"] in TERMINAL:
                    ended.add(run["metadata"]["name"])
                changes += event["type"] == "MODIFIED"
                # Killed in the middle of its work: right after one of its writes, at ten places
                # spread over the whole.
                if kills < KILLS and changes >= 7 * (kills + 1):
                    kills += 1
                    operator.kill()
                    operator.start()
                if len(ended) == RUNS_IN_ALL:
                    break
        assert kills == KILLS
        phases = [lab.get(run)["status"]["phase"] for run in runs]
        assert phases == ["Succeeded"] * RUNS_IN_ALL
        assert outside.most <= LIMIT
        assert outside.most == LIMIT  # it was used to the full, or the test proves nothing
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}
        assert len(outside.jobs_of) == RUNS_IN_ALL


def test_priority_goes_first_and_age_decides_among_equals(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1, suspended=True)
    low = [lab.run(job_type, "message", stem="low", priority=-5) for _ in range(2)]
    high = lab.run(job_type, "message", stem="high", priority=5)
    for run in (*low, high):
        lab.phase(run, "Queued")
    lab.kubectl("patch", "cjt", job_type, "--type=merge", "-p", '{"spec":{"suspended":false}}')
    # Kubernetes dates in whole seconds; within one the uid decides.
    low.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["uid"]))
    ended = [lab.ended(run)["status"] for run in (high, *low)]
    starts = [status["startedAt"] for status in ended]
    assert starts == sorted(starts)


def test_a_run_that_does_not_want_to_wait_is_rejected_when_full(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1)
    first = lab.phase(lab.run(job_type, "sleep-20"), "Starting", "Running")
    second = lab.ended(lab.run(job_type, "message", whenFull="Reject"))
    assert (second["status"]["phase"], second["status"]["reason"]) == (
        "Rejected",
        "ConcurrencyLimit",
    )
    taken = f'all slots of job type "{job_type}" are taken (concurrencyLimit 1)'
    assert taken in second["status"]["message"]
    lab.cancel(first)
    lab.ended(first)

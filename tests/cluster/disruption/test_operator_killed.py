"""The concurrency limit holds at every instant, whoever dies meanwhile."""

from kubernetes import client, watch
from lab import PATIENCE, TERMINAL, Lab
from own_operator import DEPLOYMENT, operator_of_our_own
from slot_observer import SlotObserver

LIMIT = 3
RUNS_IN_ALL = 30
KILLS = 10


def test_thirty_runs_three_slots_and_an_operator_killed_ten_times(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=LIMIT)
    with operator_of_our_own(lab) as operator, SlotObserver(lab, job_type) as outside:
        operator.start()
        runs = [lab.run(job_type, "sleep-1", stem="slot") for _ in range(RUNS_IN_ALL)]
        selector = f"spec.jobType={job_type}"
        ended: set[str] = set()
        versions: set[str] = set()
        kills = 0
        while len(ended) < RUNS_IN_ALL:
            operator.ensure()
            stream = watch.Watch().stream(
                lab.custom.list_namespaced_custom_object,
                *lab.run_kind,
                field_selector=selector,
                timeout_seconds=10,
            )
            for event in stream:
                run = event["object"]
                if run["status"]["phase"] in TERMINAL:
                    ended.add(run["metadata"]["name"])
                versions.add(run["metadata"]["resourceVersion"])
                # Killed in the middle of its work: right after one of its writes, at ten places
                # spread over the whole.
                if kills < KILLS and len(versions) >= RUNS_IN_ALL + 5 * (kills + 1):
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


def leader(lab: Lab, *, other_than: str = "") -> str:
    """Wait until a pod of the operator leads; return its name."""
    stream = watch.Watch().stream(
        client.CoordinationV1Api().list_namespaced_lease,
        lab.namespace,
        field_selector="metadata.name=codexrun-operator",
        timeout_seconds=PATIENCE,
    )
    holders = (event["object"].spec.holder_identity or "" for event in stream)
    return next(
        name for name in holders if name.startswith("codexrun-operator-") and name != other_than
    )


def test_a_second_operator_takes_over_from_a_killed_leader(lab: Lab) -> None:
    lab.kubectl("scale", DEPLOYMENT, "--replicas=2")
    try:
        lab.kubectl("rollout", "status", DEPLOYMENT, "--timeout=120s")
        first = leader(lab)
        lab.kubectl("delete", "pod", first, "--force", "--grace-period=0")
        assert lab.ended(lab.run(lab.job_type(), "message"))["status"]["phase"] == "Succeeded"
        assert leader(lab, other_than=first)
    finally:
        lab.kubectl("scale", DEPLOYMENT, "--replicas=1")
        lab.kubectl("rollout", "status", DEPLOYMENT, "--timeout=120s")

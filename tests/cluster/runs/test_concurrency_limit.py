"""The concurrency limit holds at every instant, whoever dies meanwhile."""

from lab import Lab


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

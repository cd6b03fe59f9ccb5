"""Rules for a run whose Job is there and goes its way: show where it is, and find its verdict when it has ended."""

from datetime import datetime, timedelta
from typing import Any

from codexrun_core.lifecycle import Phase
from codexrun_operator.outcome import outcome
from codexrun_operator.plan.decision import Decision, ReleaseEvidence, Seen
from codexrun_operator.plan.stop import own_end, terminal
from codexrun_operator.plan.trouble import camel, start_trouble
from codexrun_operator.status import moved

WARNINGS_AFTER = timedelta(seconds=5)  # younger pods are merely starting


def finish(seen: Seen, now: datetime) -> Decision | None:
    """The pod has ended by itself. Read from the containers' states, which come some 3 s before the Job's condition."""
    pod = seen.pod
    if seen.job is None or pod is None or seen.phase is Phase.STOPPING:
        return None
    end = own_end(seen) if pod.ended or pod.gone else None
    if end is None:
        if not pod.ended or pod.deleting or pod.gone:
            return None
        failure = outcome(pod).failure
        assert failure is not None  # success is never anybody else's work
        end = (camel(failure.class_), failure.message, failure)
    decision = terminal(seen, now, *end)
    if pod.held and not pod.gone:
        # A stop had begun, and its run was faster.
        return Decision(actions=(ReleaseEvidence(pod.name, pod.uid),), status=decision.status)
    return decision


def show_progress(seen: Seen, now: datetime) -> Decision | None:
    """Starting, with what it waits for; or Running."""
    job, pod, run = seen.job, seen.pod, seen.run
    if job is None or seen.phase is Phase.STOPPING:
        return None
    known: dict[str, Any] = {"attempt": job.attempt, "job_name": job.name, "prompt": job.prompt, "model": job.model}
    if pod:
        known["pod_name"] = pod.name
        if pod.agent.state in ("running", "terminated"):
            started = run.status.started_at or pod.agent.started_at or now
            status = moved(run, Phase.RUNNING, "AgentRunning", "The agent is running", now, started_at=started, **known)
            return Decision(status=status)
    trouble = start_trouble(job, pod, seen.warnings)
    look_again = min(10.0, max(1.0, job.start_seconds - (now - (job.created or now)).total_seconds()))
    calm = run.status.phase is Phase.STARTING and run.status.reason in ("Starting", "Cloning")
    if trouble.expected and calm:
        # "Still starting" is not worth a status write.
        return Decision(look_again=look_again)
    return Decision(status=moved(run, Phase.STARTING, trouble.reason, trouble.message, now, **known), look_again=look_again)

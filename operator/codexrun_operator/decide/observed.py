"""Jobs, pods and Events as plain values: the planner's whole view of the cluster."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from codexrun_core.resources import PromptUsed
from codexrun_core.resources.fields import DAY
from codexrun_core.runs.annotations import ADMITTED_WITH
from codexrun_core.runs.label_keys import (
    ATTEMPT_LABEL,
    EVIDENCE_FINALIZER,
    JOB_TYPE_LABEL,
    RUN_NAME_LABEL,
    RUN_UID_LABEL,
    is_job_name,
)
from codexrun_core.schemas.nesting import nesting_problem

Json = Mapping[str, Any]

# The kubelet dates what never happened, such as the start of a container that failed to, at the
# epoch.
PLAUSIBLE_YEARS = range(1971, 9000)
MAX_ATTEMPT = 2**31 - 1
# The deadline of a pod that is stopped, from its start: long over. No Job's template has it so low.
STOP_DEADLINE_SECONDS = 1
# A Job's controller has seen it this long after its creation; their clocks may differ.
FIRST_SYNC = timedelta(seconds=5)


def parse_time(value: Any) -> datetime | None:
    """Return a Kubernetes timestamp (RFC 3339, UTC); None where it is absent or implausible."""
    try:
        time = datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return (
        time if PLAUSIBLE_YEARS.start <= time.year < PLAUSIBLE_YEARS.stop and time.tzinfo else None
    )


def _after(start: datetime | None, seconds: Any) -> datetime | None:
    """Return the moment so many seconds later; None where either is absent or it lies beyond the
    calendar."""
    if start is None or not isinstance(seconds, int):
        return None
    try:
        time = start + timedelta(seconds=seconds)
    except OverflowError:
        return None
    return time if time.year < PLAUSIBLE_YEARS.stop else None


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of the pod. `report` is its termination message, where codexrun wrote that
    (JSON with a `src`). While one that was restarted waits or runs, exit code and report are those
    of its last end."""

    state: str = "absent"  # absent | waiting | running | terminated
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    restarts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    report: Json = field(default_factory=dict)

    @property
    def started(self) -> bool:
        return self.state in ("running", "terminated")

    @property
    def ended(self) -> bool:
        return self.state == "terminated"


@dataclass(frozen=True, kw_only=True)
class Pod:
    name: str
    uid: str = ""
    run: str = ""  # name of its CodexRun; empty if its label was taken away
    run_uid: str = ""
    job_type: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    node: str = ""
    created: datetime | None = None
    deleting: bool = False
    stopped: bool = False  # by the operator, which has lowered its deadline
    held: bool = False  # the finalizer of an earlier version is on it
    owned: bool = True  # a Job is its controller
    genuine: bool = True  # of the run's own Job, and no copy of such a pod
    disruption: str = ""  # reason of the DisruptionTarget condition (KEP-3329)
    unschedulable: str = ""  # the scheduler's message
    gone: bool = False  # the object is deleted; this is its last state
    prepared: bool = False  # sandbox, network and volumes are there (KEP-3085)
    agent: Container = Container()
    gate: Container = Container()
    clone: Container = Container()
    # what others have put into the pod, such as a mesh, by name
    foreign_init: Mapping[str, Container] = field(default_factory=dict)  # and sidecars
    foreign: Mapping[str, Container] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Nothing of it runs any more and nothing of it will: both containers' reports are in."""
        return self.phase in ("Succeeded", "Failed") or (self.agent.ended and self.gate.ended)

    def still(self, known: "Pod") -> "Pod":
        """The same pod, which was `known` to be a run's: whoever has changed its labels since, it
        is that run's."""
        return replace(
            self, run=known.run, run_uid=known.run_uid, job_type=known.job_type, genuine=True
        )

    @property
    def holds_slot(self) -> bool:
        """Counted as ResourceQuota counts pods: until it is terminal or gone."""
        return not self.gone and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Job:
    """The Job of one attempt; it is also the record of what the run was admitted with, should the
    job type be edited."""

    name: str
    uid: str = ""
    run: str = ""  # name of its CodexRun
    run_uid: str = ""
    job_type: str = ""
    attempt: int = 1
    created: datetime | None = None
    # since when its controller makes its pod, or has resumed it; None as long as it was suspended
    # from the first
    started: datetime | None = None
    deadline: datetime | None = None  # when its controller ends it: the backstop
    start_seconds: int = 600  # how long the agent may take to run
    prompt: PromptUsed | None = None
    model: str | None = None
    sandbox: str | None = None
    owned: bool = True  # a CodexRun controls it
    genuine: bool = True  # name and owner are those that codexrun gives; else it is a copy
    suspended: bool = False  # spec.suspend
    suspension_seen: bool = False  # the Job controller's answer: no pod can be made any more
    resumed: bool = False  # it was, at least once; see _was_resumed
    active: int = 0
    terminating: int = 0
    counted: bool = False  # a pod of it, as ended
    complete: bool = False
    failed: str = ""  # reason of Failed, or of FailureTarget while its pods still end
    finished: bool = False
    message: str = ""
    deleting: bool = False

    def still(self, known: "Job") -> "Job":
        """The same Job, which was `known` to be a run's: whoever has changed its labels since, it
        is that run's."""
        return replace(
            self,
            run=known.run,
            run_uid=known.run_uid,
            job_type=known.job_type,
            attempt=known.attempt,
            genuine=True,
        )

    @property
    def gone(self) -> bool:
        """No container of it runs and none will start, as the Job controller itself says."""
        return (self.finished or (self.suspended and self.suspension_seen)) and not self.terminating

    @property
    def holds_slot(self) -> bool:
        """Until nothing of it runs and nothing will: a suspended one may be resumed at any
        moment."""
        return not self.finished or bool(self.terminating)

    @property
    def had_pod(self) -> bool:
        """Whether it has made its pod, as far as it tells itself. Its controller makes the pod as
        it sets startTime; Kueue takes that away again, and a pod that a suspension deletes is in no
        count once it is gone, but the resumption before leaves its trace."""
        counts = self.active or self.terminating or self.counted
        return self.started is not None or self.resumed or bool(counts)

    @property
    def waits_for_resumption(self) -> bool:
        """It was suspended from the first, and its controller has not seen yet that it no longer
        is."""
        return self.started is None and (self.suspended or self.suspension_seen)

    @property
    def expects_pod_since(self) -> datetime | None:
        """The moment from which its pod may be expected, if that is known."""
        return None if self.waits_for_resumption else self.started or self.created


@dataclass(frozen=True, kw_only=True)
class Event:
    """A warning of Kubernetes about the Job or the pod."""

    reason: str
    message: str
    last_seen: datetime | None = None


def _report(text: str) -> Json:
    """Parse a termination message; {} for anything but a report.

    The agent's is untrusted: deep nesting, or half surrogates, which are no text, must stop
    nothing."""
    try:
        report = json.loads(
            json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace")
        )
    except (ValueError, RecursionError):
        return {}
    is_report = isinstance(report, dict) and "src" in report and not nesting_problem(report)
    return report if is_report else {}


def _container(status: Json) -> Container:
    state: Json = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated") or {}
    restarts = status.get("restartCount") or 0
    if running := state.get("running"):
        # A restarted gate: what its last life reported still counts (its counters live on).
        return Container(
            state="running",
            exit_code=last.get("exitCode"),
            restarts=restarts,
            started_at=parse_time(running.get("startedAt")),
            report=_report(last.get("message", "")),
        )
    if ended := state.get("terminated"):
        return Container(
            state="terminated",
            reason=ended.get("reason", ""),
            message=ended.get("message", ""),
            exit_code=ended.get("exitCode"),
            restarts=restarts,
            started_at=parse_time(ended.get("startedAt")),
            finished_at=parse_time(ended.get("finishedAt")),
            report=_report(ended.get("message", "")),
        )
    waiting = state.get("waiting") or {}
    return Container(
        state="waiting",
        reason=waiting.get("reason", ""),
        message=waiting.get("message", ""),
        exit_code=last.get("exitCode"),
        restarts=restarts,
        report=_report(last.get("message", "")),
    )


def _containers(statuses: Any) -> dict[str, Container]:
    return {status.get("name", ""): _container(status) for status in statuses or []}


def _conditions(status: Json) -> dict[str, Json]:
    return {c["type"]: c for c in status.get("conditions") or [] if "type" in c}


def _controller(metadata: Json) -> Json | None:
    """Return the owner reference of the object's controller; None if it has none."""
    owners: list[Json] = metadata.get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def _ends_as_job_name(name: str, uid: str) -> bool:
    """Return whether the name may be that of a Job of the run, whose own name is not known: its
    label was taken away."""
    start, _, attempt = name.rpartition("-")
    return attempt.isdecimal() and start.endswith(f"-{uid[:8]}")


def pod_from(raw: Json, *, gone: bool = False) -> Pod:
    """Read a pod as the apiserver sent it; `gone` when that came with a DELETED event."""
    metadata = raw["metadata"]
    spec = raw.get("spec") or {}
    status = raw.get("status") or {}
    conditions = _conditions(status)
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    prepared = conditions.get("PodReadyToStartContainers", {})
    init = _containers(status.get("initContainerStatuses"))
    plain = _containers(status.get("containerStatuses"))
    labels = metadata.get("labels") or {}
    run = labels.get(RUN_NAME_LABEL, "")
    run_uid = labels.get(RUN_UID_LABEL, "")
    controller = _controller(metadata)
    job = controller["name"] if controller else metadata["name"].rpartition("-")[0]
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        run=run,
        run_uid=run_uid,
        job_type=labels.get(JOB_TYPE_LABEL, ""),
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        node=spec.get("nodeName") or "",
        created=parse_time(metadata.get("creationTimestamp")),
        deleting=bool(metadata.get("deletionTimestamp")),
        stopped=spec.get("activeDeadlineSeconds") == STOP_DEADLINE_SECONDS,
        held=EVIDENCE_FINALIZER in (metadata.get("finalizers") or []),
        owned=controller is not None and controller.get("kind") == "Job",
        # without a controller: orphaned by the deletion of its Job
        genuine=(controller is None or controller.get("kind") == "Job")
        and bool(run_uid)
        and (is_job_name(job, run, run_uid) if run else _ends_as_job_name(job, run_uid)),
        disruption=disruption.get("reason", "") if disruption.get("status") == "True" else "",
        unschedulable=scheduled.get("message", "")
        if scheduled.get("reason") == "Unschedulable"
        else "",
        gone=gone,
        prepared=prepared.get("status") == "True",
        agent=plain.pop("agent", Container()),
        gate=init.pop("gate", Container()),
        clone=init.pop("clone", Container()),
        foreign_init=init,
        foreign=plain,
    )


def event_from(raw: Json) -> Event:
    """Read an Event as the apiserver sent it, of whichever API it was written with."""
    series = raw.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        raw.get("lastTimestamp"),
        raw.get("eventTime"),
        (raw.get("metadata") or {}).get("creationTimestamp"),
    )
    return Event(
        reason=raw.get("reason") or "",
        message=raw.get("message") or "",
        last_seen=next((time for value in times if (time := parse_time(value))), None),
    )


def _admitted(text: str) -> dict[str, Any]:
    """Read what the Job records of the run's admission. Anybody who may edit Jobs may have spoilt
    it: what is left of it holds."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(record, dict):
        return {}
    seconds, model, sandbox = (record.get(key) for key in ("startSeconds", "model", "sandbox"))
    admitted: dict[str, Any] = {}
    if type(seconds) is int and 0 < seconds <= DAY:
        admitted["start_seconds"] = seconds
    if isinstance(model, str):
        admitted["model"] = model
    if sandbox in ("pod", "codex"):
        admitted["sandbox"] = sandbox
    with contextlib.suppress(ValidationError):
        admitted["prompt"] = PromptUsed.model_validate(record.get("prompt"))
    return admitted


def _was_resumed(metadata: Json, suspension: Json) -> bool:
    """Return whether the Job was resumed since it was created, by its condition `Suspended`.

    That turns to False as the Job is resumed, and to True again, with a new date, as it is
    suspended again. Each is a change of the spec, which its generation counts: where that is 1, or
    the condition is as old as the Job, it was suspended from the first.
    """
    if suspension.get("status") == "False":
        return True
    created = parse_time(metadata.get("creationTimestamp"))
    since = parse_time(suspension.get("lastTransitionTime"))
    if created is None or since is None or metadata.get("generation", 1) == 1:
        return False
    return since - created > FIRST_SYNC


def job_from(raw: Json) -> Job:
    """Read a Job as the apiserver sent it."""
    metadata = raw["metadata"]
    spec = raw.get("spec") or {}
    status = raw.get("status") or {}
    admitted = _admitted((metadata.get("annotations") or {}).get(ADMITTED_WITH, ""))
    labels = metadata.get("labels") or {}
    run = labels.get(RUN_NAME_LABEL, "")
    run_uid = labels.get(RUN_UID_LABEL, "")
    controller = _controller(metadata)
    owned = controller is not None and controller.get("kind") == "CodexRun"
    if controller is not None and owned:
        run = controller.get("name", "")  # labels may be edited
        run_uid = controller.get("uid", "")
    attempt = labels.get(ATTEMPT_LABEL, "")
    attempt_number = int(attempt) if attempt.isdecimal() else 0
    conditions = _conditions(status)
    true_conditions = {name: c for name, c in conditions.items() if c.get("status") == "True"}
    started = parse_time(status.get("startTime"))
    failed = true_conditions.get("Failed") or true_conditions.get("FailureTarget") or {}
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        run=run,
        run_uid=run_uid,
        job_type=labels.get(JOB_TYPE_LABEL, ""),
        attempt=attempt_number if 0 < attempt_number <= MAX_ATTEMPT else 1,
        created=parse_time(metadata.get("creationTimestamp")),
        started=started,
        deadline=_after(started, spec.get("activeDeadlineSeconds")),
        **admitted,
        owned=owned,
        # without a controller: orphaned by the deletion of its run
        genuine=(controller is None or owned)
        and bool(run_uid)
        and is_job_name(metadata["name"], run, run_uid),
        suspended=bool(spec.get("suspend")),
        suspension_seen="Suspended" in true_conditions,
        resumed=_was_resumed(metadata, conditions.get("Suspended", {})),
        active=status.get("active") or 0,
        terminating=status.get("terminating") or 0,
        counted=any(status.get(count) for count in ("succeeded", "failed"))
        or any((status.get("uncountedTerminatedPods") or {}).values()),
        complete="Complete" in true_conditions,
        failed=failed.get("reason", ""),
        finished="Complete" in true_conditions or "Failed" in true_conditions,
        message=failed.get("message", ""),
        deleting=bool(metadata.get("deletionTimestamp")),
    )

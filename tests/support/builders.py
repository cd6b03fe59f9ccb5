"""Builders of what the operator sees. Each fills in what a test does not care about; a test names
only what decides. `manifests.py` has the objects as users apply them."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import manifests

from codexrun_core.pod_contract import ReportKey
from codexrun_core.prices.table import built_in
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.resources import CodexJobType, CodexRun, PromptUsed
from codexrun_operator.decide.observed import Container, Event, Job, Pod
from codexrun_operator.decide.plan import Snapshot

Json = dict[str, Any]

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PRICES = built_in().on(NOON.date())
CREATED = NOON - timedelta(minutes=5)
UID = "11111111-2222-4333-8444-555555555555"
TEXT = "Greet {{name}}."
SHA = hashlib.sha256(TEXT.encode()).hexdigest()
FULL = {"attempt": 1, "jobName": "hello-11111111-1", "startedAt": "2026-11-24T11:56:00Z"}


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


def stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def by(who: str = "ops", reason: str | None = None) -> Json:
    """spec.cancel."""
    return {"requestedBy": who, **({"reason": reason} if reason else {})}


def run_json(
    phase: str = "Pending", *, uid: str = UID, name: str = "hello", age: float = 300, **more: Any
) -> Json:
    """Return a CodexRun as the apiserver has it. Phases from Starting on bring the attempt that
    belongs to them."""
    status: Json = {
        "phase": phase,
        "reason": more.pop("reason", phase),
        "message": more.pop("message", ""),
    }
    if phase in ("Starting", "Running", "Stopping") and more.pop("recorded", True):
        status |= {
            key: value for key, value in FULL.items() if key != "startedAt" or phase == "Running"
        }
    status |= more.pop("status", {})
    metadata = {
        "name": name,
        "namespace": "codexrun",
        "uid": uid,
        "generation": 1,
        "resourceVersion": str(more.pop("version", 7)),
        "creationTimestamp": stamp(ago(age)),
    }
    if more.pop("deleting", False):
        metadata["deletionTimestamp"] = stamp(NOON)
    manifest = manifests.run(name, **{"inputs": {"name": "world"}, **more})
    return manifest | {"metadata": metadata, "status": status}


def run(phase: str = "Pending", **more: Any) -> CodexRun:
    return CodexRun.model_validate(run_json(phase, **more))


def kind_json(
    *, name: str = "hello", version: int = 3, generation: int = 1, uid: str = "kind-1", **spec: Any
) -> Json:
    """Return a CodexJobType as the apiserver has it, with one slot."""
    metadata = {
        "name": name,
        "namespace": "codexrun",
        "uid": uid,
        "generation": generation,
        "resourceVersion": str(version),
    }
    manifest = manifests.job_type(name, **{"concurrencyLimit": 1, **spec})
    return manifest | {"metadata": metadata}


def kind(**spec: Any) -> CodexJobType:
    return CodexJobType.model_validate(kind_json(**spec))


def prompt(text: str = TEXT, **more: Any) -> Prompt:
    return Prompt(
        **{
            "name": "hello",
            "version": "v1",
            "text": text,
            "sha256": SHA,
            "declared_sha256": SHA,
            **more,
        }
    )


def prompt_json(version: int = 2) -> Json:
    """Return the ConfigMap of `prompt()`."""
    manifest = manifests.prompt(text=TEXT)
    manifest["metadata"] |= {"uid": "prompt-1", "resourceVersion": str(version)}
    return manifest


def job(**more: Any) -> Job:
    """Alive, 4 minutes old, its pod counted."""
    used = PromptUsed(name="hello", version="v1", sha256=SHA)
    given = {
        "name": "hello-11111111-1",
        "uid": "job-1",
        "created": ago(240),
        "prompt": used,
        "model": "gpt-5.5",
        "active": 1,
    }
    return Job(**given | more)


def done_job(**more: Any) -> Job:
    return job(**{"active": 0, "finished": True, "failed": "BackoffLimitExceeded"} | more)


def gone_by_suspension(**more: Any) -> Job:
    return job(suspended=True, suspension_seen=True, active=0, **more)


def waiting(reason: str = "ContainerCreating", message: str = "") -> Container:
    return Container(state="waiting", reason=reason, message=message)


def running(**more: Any) -> Container:
    return Container(state="running", started_at=ago(240), **more)


def ended(code: int = 0, **more: Any) -> Container:
    return Container(
        state="terminated", exit_code=code, started_at=ago(240), finished_at=ago(10), **more
    )


def agent_report(**more: Any) -> Json:
    """The runner's last word about a success; `...=None` drops a field."""
    report = {
        ReportKey.VERSION: 1,
        ReportKey.SOURCE: "runner",
        ReportKey.STATE: "done",
        ReportKey.EXIT_CODE: 0,
        ReportKey.THREAD_ID: "thread-1",
        ReportKey.TURN_COMPLETED: True,
        ReportKey.TURN_FAILED: False,
        ReportKey.FINAL_MESSAGE: "Hello, world!",
        ReportKey.FINAL_MESSAGE_BYTES: 13,
    } | more
    return {key: value for key, value in report.items() if value is not None}


def gate_report(**more: Any) -> Json:
    usage = {
        "inputTokens": 100,
        "cachedInputTokens": 20,
        "outputTokens": 10,
        "reasoningTokens": 0,
        "totalTokens": 110,
    }
    report = {
        ReportKey.VERSION: 1,
        ReportKey.SOURCE: "gate",
        ReportKey.REQUESTS: 2,
        ReportKey.COMPLETED: 2,
        ReportKey.USAGE: usage | {ReportKey.COST_MICRO_USD: 4_200},
        ReportKey.PRICE_TABLE: "2026-06-12",
        ReportKey.COMPLETE: True,
    } | more
    return {key: value for key, value in report.items() if value is not None}


def signalled(**more: Any) -> Json:
    """The runner's word after SIGTERM: nothing is proven."""
    return agent_report(
        exitCode=143, stopped="signal", turnCompleted=False, finalMessage=None, **more
    )


GATE_ENDED = ended(0, report=gate_report())


def no_gate(message: str = "model.caBundle: no certificates") -> Json:
    """The last word of a gate that cannot start."""
    failure = {ReportKey.CLASS: "config", ReportKey.MESSAGE: message}
    return {ReportKey.VERSION: 1, ReportKey.SOURCE: "gate", ReportKey.FAILURE: failure}


def pod(phase: str = "Running", **more: Any) -> Pod:
    """A pod on a node whose agent runs; Succeeded and Failed bring containers that have ended
    accordingly."""
    given: Json = {
        "name": "hello-11111111-1-abcde",
        "uid": "pod-1",
        "run": "hello",
        "phase": phase,
        "node": "node-1",
    }
    if phase == "Pending":
        given |= {"agent": waiting(), "gate": waiting()}
    elif phase == "Running":
        given |= {"agent": running(), "gate": running()}
    elif phase == "Succeeded":
        given |= {"agent": ended(0, report=agent_report()), "gate": GATE_ENDED}
    else:
        given |= {"agent": ended(143, report=signalled()), "gate": GATE_ENDED}
    return Pod(**given | more)


def warning(reason: str, message: str, last_seen: datetime | None = None) -> Event:
    """An Event of type Warning about the Job or the pod."""
    return Event(reason=reason, message=message, last_seen=last_seen)


def given(
    of: CodexRun, job: Job | None = None, pod: Pod | None = None, *warnings: Event, **more: Any
) -> Snapshot:
    """What the planner sees; job type and prompt are there unless a test takes them away."""
    return Snapshot(
        **{
            "run": of,
            "job_type": kind(),
            "prompt": prompt(),
            "prices": PRICES,
            "job": job,
            "pod": pod,
            "warnings": warnings,
            # None is what is not there; where it is unknown a test says so
            "absence_proven": True,
        }
        | more
    )

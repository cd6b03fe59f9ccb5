"""A run of which something cannot be read: it says so, and what it has begun is brought to its
end."""

import copy
from typing import Any

import pytest
from builders import NOON, UID, agent_report, by, gate_report, given, job, run_json
from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st
from odd import SCALARS, nested
from prometheus_client import REGISTRY
from pydantic import ValidationError
from test_reconcile import COMPLETE, Operator, pod_of, told

from codexrun_core.runs.label_keys import EVIDENCE_FINALIZER
from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS
from codexrun_operator.decide.plan import plan
from codexrun_operator.decide.run_reader import read_run, unreadable_fields
from codexrun_operator.watch.keys import Key, Kind

Json = dict[str, Any]


def edited(raw: Json, field: str, value: Any) -> Json:
    """The run with one field in another form."""
    changed = copy.deepcopy(raw)
    *parents, last = field.split(".")
    part = changed
    for key in parents:
        part = part.setdefault(key, {})
    part[last] = value
    return changed


ODD = [
    ("spec.priority", "high"),
    ("spec.limits", {"maxTokens": "many"}),
    ("spec.jobType", {"name": "hello"}),
    ("spec.retryOf", ["another"]),
    ("spec.inputs", "text"),
    ("status.conditions", [{"type": 1}]),
    ("status.usage", {"totalTokens": -5}),
    ("status.failure", {"class": 7, "message": "x"}),
    ("status.attempt", "first"),
]
NAMES = {"spec.limits": "spec.limits.maxTokens"}


def condition(status: Json, kind: str) -> Json | None:
    return next((c for c in status["conditions"] if c["type"] == kind), None)


@pytest.mark.parametrize(("field", "value"), ODD, ids=[field for field, _ in ODD])
def test_what_cannot_be_read_is_left_out_and_named(field: str, value: Any) -> None:
    raw = edited(run_json("Running"), field, value)
    run = read_run(raw)
    (name,) = unreadable_fields(run)
    assert name.startswith(NAMES.get(field, field))
    assert (run.metadata.uid, run.status.phase) == (UID, "Running")
    assert "unreadable" not in run.dump()
    assert unreadable_fields(read_run(run_json("Running"))) == ()


def test_it_is_counted_like_any_other_object() -> None:
    def count() -> float:
        return (
            REGISTRY.get_sample_value("codexrun_unreadable_objects_total", {"kind": "codexrun"})
            or 0
        )

    before = count()
    read_run(edited(run_json(), "spec.priority", "high"))
    assert count() == before + 1


@pytest.mark.parametrize("field", ["metadata.uid", "metadata.resourceVersion"])
def test_of_what_has_no_identity_nothing_is_known(field: str) -> None:
    with pytest.raises(ValidationError):
        read_run(edited(run_json(), field, {"a": 1}))


FIELDS = sorted(
    [f"spec.{key}" for key in ("jobType", "inputs", "limits", "priority", "cancel", "workspace")]
    + [f"status.{key}" for key in ("phase", "reason", "conditions", "usage", "result", "startedAt")]
    + ["spec", "status"]
)


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@for_any(edits=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
@settings(deadline=None, max_examples=100)
def test_whatever_is_in_it_a_run_is_read_and_decided_on(edits: Json) -> None:
    raw = run_json("Running")
    for field, value in sorted(edits.items()):
        if "." not in field or isinstance(raw.get(field.partition(".")[0]), dict):
            raw = edited(raw, field, value)
    run = read_run(raw)
    assert run.metadata.uid == UID
    for snapshot in (given(run), given(run, job())):
        decision = plan(snapshot, NOON)
        assert not decision.starts or not unreadable_fields(run)


@pytest.mark.parametrize(
    "field", [field for field in FIELDS if "." in field and field != "status.phase"]
)
def test_however_deep_it_is(field: str) -> None:
    run = read_run(edited(run_json("Running"), field, nested(9_990)))
    assert run.metadata.uid == UID


# -- before it has begun -------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["Pending", "Queued"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        (field, value)
        for field, value in ODD
        if field not in ("status.conditions", "status.attempt")
    ],
)
async def test_a_run_that_waits_says_so_and_starts_when_it_can_be_read(
    phase: str, field: str, value: Any
) -> None:
    operator = Operator()
    operator.apply(edited(run_json(phase), field, value))
    for _ in range(3):
        await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == (phase, "Unreadable")
    readable = condition(operator.stored(), "Readable")
    assert readable is not None
    assert (readable["status"], readable["reason"]) == ("False", "Unreadable")
    assert field in readable["message"]
    accepted = condition(operator.stored(), "Accepted")
    assert accepted is not None
    assert accepted["status"] == {"Pending": "Unknown", "Queued": "True"}[phase]
    assert len(operator.kube.writes("replace", "/status")) == 1
    assert (operator.kube.items(operator.kube.jobs), operator.held) == ([], 0)
    part, _, name = field.partition(".")
    (stored,) = operator.kube.items(operator.kube.runs)
    assert stored[part][name] == value, "a newer version's is kept"
    status = {key: value for key, value in operator.stored().items() if key != name}
    operator.apply(run_json(phase, version=900) | {"status": status})
    await operator.look()
    assert operator.stored()["phase"] == "Starting"
    readable = condition(operator.stored(), "Readable")
    assert readable is not None
    assert readable["status"] == "True"


async def test_it_is_in_nobody_s_way() -> None:
    operator = Operator()
    operator.apply(edited(run_json("Queued", age=900), "spec.limits", "none"))
    other = "99999999-2222-4333-8444-555555555555"
    operator.apply(run_json("Queued", uid=other, name="younger", age=10))
    await operator.look()
    await operator.look(other)
    assert operator.stored("younger")["phase"] == "Starting"


@pytest.mark.parametrize("cancel", [by(), {"requestedBy": ["ana"]}, "now"], ids=repr)
async def test_it_can_be_cancelled(cancel: Any) -> None:
    operator = Operator()
    operator.apply(edited(run_json(cancel=cancel), "spec.limits", "none"))
    await operator.look()
    assert (operator.stored()["phase"], operator.stored()["reason"]) == (
        "Cancelled",
        "CancelRequested",
    )


# -- with a Job ----------------------------------------------------------------------------------


async def begun(*, pod: bool = True) -> Operator:
    """A run that runs, or waits for its pod."""
    operator = Operator()
    operator.apply(run_json())
    await operator.look()
    operator.cache.update_job(operator.job)
    if pod:
        operator.cache.update_pod(operator.kube.put("pods", pod_of(operator.job)))
        await operator.look()
    return operator


def edit(operator: Operator, edits: Json) -> None:
    """Another version edits the run."""
    raw = operator.kube.objects[operator.kube.path_of("codexruns", "hello")]
    for field, value in edits.items():
        raw = edited(raw, field, value)
    operator.kube.version += 1000
    operator.apply(edited(raw, "metadata.resourceVersion", str(operator.kube.version)))


@pytest.mark.parametrize(("field", "value"), ODD, ids=[field for field, _ in ODD])
async def test_one_that_runs_says_so_and_is_brought_to_its_end(field: str, value: Any) -> None:
    operator = await begun()
    edit(operator, {field: value})
    await operator.look()
    readable = condition(operator.stored(), "Readable")
    assert readable is not None
    assert readable["status"] == "False"
    assert operator.stored()["phase"] == "Running"
    ended = pod_of(operator.job, "Succeeded", agent=agent_report(), gate=gate_report())
    ended["metadata"]["resourceVersion"] = "99999"
    operator.cache.update_pod(ended)
    operator.cache.update_job(told(operator.job, 99999, **COMPLETE))
    await operator.look()
    assert (operator.stored()["phase"], operator.held) == ("Succeeded", 0)
    assert operator.stored()["usage"]["totalTokens"] == 110


@pytest.mark.parametrize(("field", "value"), [*ODD, ("spec", "text")])
async def test_one_that_runs_keeps_the_slot_of_its_job_type(field: str, value: Any) -> None:
    operator = await begun()
    edit(operator, {field: value})
    operator.cache.update_job(told(operator.job, 99999))
    assert operator.held == 1


async def test_one_with_a_pod_can_be_cancelled_and_its_evidence_is_kept() -> None:
    operator = await begun()
    edit(operator, {"spec.limits": "none", "spec.cancel": by()})
    await operator.look()
    assert operator.stored()["phase"] == "Stopping"
    (pod,) = operator.kube.items(operator.kube.pods)
    assert pod["spec"]["activeDeadlineSeconds"] == STOP_DEADLINE_SECONDS
    ended = pod_of(operator.job, "Failed", agent=agent_report(), gate=gate_report())
    pod["status"] = ended["status"]
    pod["metadata"]["resourceVersion"] = "99999"
    operator.cache.update_pod(pod)
    await operator.look()
    assert operator.stored()["usage"]["totalTokens"] == 110
    assert operator.kube.items(operator.kube.pods) == [pod]
    await operator.look()
    assert operator.kube.items(operator.kube.pods) == []


async def test_one_that_does_not_start_is_stopped_in_time() -> None:
    operator = await begun(pod=False)
    edit(operator, {"spec.limits": "none"})
    operator.job["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    operator.cache.update_job(told(operator.job, 99999))
    await operator.look()
    assert operator.stored()["phase"] == "Stopping"
    assert operator.job["spec"]["suspend"] is True


@pytest.mark.parametrize("phase", ["Cancelled", "Failed"])
async def test_the_pod_of_one_that_has_ended_is_let_go(phase: str) -> None:
    operator = await begun()
    (pod,) = operator.kube.items(operator.kube.pods)
    pod["metadata"] |= {"finalizers": [EVIDENCE_FINALIZER], "resourceVersion": "99999"}
    operator.cache.update_pod(pod)
    ended = edited(run_json(phase, version=9999), "spec.limits", "none")
    operator.kube.put("codexruns", ended)
    operator.cache.forget(UID, 9999)
    await operator.look(Key(Kind.EVIDENCE, UID))
    (pod,) = operator.kube.items(operator.kube.pods)
    assert pod["metadata"]["finalizers"] == []


@pytest.mark.parametrize(
    ("field", "value"), [("spec.ttlSecondsAfterFinished", "90d"), ("spec", "text")]
)
async def test_one_whose_time_cannot_be_read_is_not_deleted(field: str, value: Any) -> None:
    operator = Operator()
    ended = edited(run_json("Failed"), field, value)
    ended["status"]["finishedAt"] = "2020-01-01T00:00:00Z"
    operator.kube.put("codexruns", ended)
    await operator.look(Key(Kind.EXPIRY, "hello"))
    assert len(operator.kube.items(operator.kube.runs)) == 1


async def test_one_that_has_ended_is_deleted_in_its_time() -> None:
    operator = Operator()
    ended = edited(run_json("Failed", ttlSecondsAfterFinished=60), "spec.limits", "none")
    ended["status"]["finishedAt"] = "2026-01-01T00:00:00Z"
    operator.kube.put("codexruns", ended)
    await operator.look(Key(Kind.EXPIRY, "hello"))
    assert operator.kube.items(operator.kube.runs) == []

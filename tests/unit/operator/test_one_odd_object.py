"""One odd object hurts only itself: whatever a Job, a pod, a run or a report holds, it is followed
as far as it can be read, and nobody else is stopped."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders import (
    NOON,
    agent_report,
    done_job,
    ended,
    gate_report,
    job,
    kind,
    kind_json,
    pod,
    run,
    run_json,
)
from builders import given as seen_of
from fake_kube import FakeKube
from hypothesis import given, settings
from hypothesis import strategies as st
from odd import JSON, nested
from prometheus_client import REGISTRY

from codexrun_api.mirror.catalog import Catalog
from codexrun_core.kube.watch import Watcher
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_core.runs.annotations import ADMITTED_WITH
from codexrun_core.schemas.nesting import TOO_DEEP, is_deeper
from codexrun_operator.act import events as report
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.decide.observed import job_from, pod_from
from codexrun_operator.decide.outcome import outcome
from codexrun_operator.decide.plan import NOTHING, plan, wants_slot
from codexrun_operator.decide.status import with_phase
from codexrun_operator.watch.cache import Cache

Json = dict[str, Any]
HERE = Path(__file__).parent
BEYOND = 2**63 - 1


def raw_job(annotation: str = "{}", **spec: Any) -> Json:
    metadata = {
        "name": "j",
        "uid": "job-1",
        "resourceVersion": "1",
        "annotations": {ADMITTED_WITH: annotation},
    }
    return {"metadata": metadata, "spec": spec, "status": {"startTime": "2026-11-24T12:00:00Z"}}


def raw_pod(message: str = "", **status: Any) -> Json:
    state = {"terminated": {"exitCode": 0, "message": message, "startedAt": "2026-11-24T12:00:00Z"}}
    containers = [{"name": "agent", "state": state}]
    metadata = {"name": "p", "uid": "pod-1", "resourceVersion": "1"}
    return {
        "metadata": metadata,
        "status": {"phase": "Failed", "containerStatuses": containers, **status},
    }


# -- Jobs and pods
# -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "annotation", ['{"startSeconds": 1e999}', '{"startSeconds": 1e999, "model": "m"}', "[" * 50_000]
)
def test_a_job_whose_record_is_spoilt_is_followed_with_the_defaults(annotation: str) -> None:
    assert job_from(raw_job(annotation)).start_seconds == 600


@pytest.mark.parametrize("seconds", [BEYOND, 10**12, -BEYOND])
def test_a_deadline_beyond_the_calendar_is_none(seconds: int) -> None:
    assert job_from(raw_job(activeDeadlineSeconds=seconds)).deadline is None


@pytest.mark.parametrize(
    "stamp",
    ["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "noon", "", 7, None],
)
def test_a_time_that_nothing_can_be_reckoned_with_is_not_known(stamp: Any) -> None:
    odd = raw_job(activeDeadlineSeconds=60)
    odd["status"]["startTime"] = stamp
    assert job_from(odd).deadline is None
    state = {"terminated": {"exitCode": 1, "startedAt": stamp, "finishedAt": stamp}}
    read = pod_from(raw_pod(containerStatuses=[{"name": "agent", "state": state}]))
    assert (read.agent.ended, read.agent.started_at, read.agent.finished_at) == (True, None, None)


@given(record=JSON, seconds=st.integers(), attempt=st.text(max_size=63), message=JSON)
@settings(deadline=None)
def test_whatever_they_hold_the_run_is_judged(
    record: Any, seconds: int, attempt: str, message: Any
) -> None:
    """And what becomes of it can be written: every run ends."""

    def text(value: Any) -> str:
        try:
            return json.dumps(value)
        except RecursionError:
            return "[" * 9_990 + "]" * 9_990

    spoilt = raw_job(text(record), activeDeadlineSeconds=seconds)
    spoilt["metadata"]["labels"] = {"codexrun.dev/attempt": attempt}
    one_job = job_from(spoilt)
    one_pod = pod_from(
        raw_pod(text({"src": "runner", "finalMessage": text(message), "failure": message}))
    )
    decision = plan(seen_of(run("Running"), one_job, one_pod), NOON)
    assert decision.status is not None
    json.dumps(decision.status.dump(), allow_nan=False)


# -- output
# ------------------------------------------------------------------------------------------


def judged(message: str, ok: bool = True) -> Any:
    said = {"ok": ok, "sha256": hashlib.sha256(message.encode()).hexdigest()}
    agent = agent_report(finalMessage=message, finalMessageBytes=len(message))
    gate = gate_report(output=said)
    return outcome(pod("Succeeded", agent=ended(report=agent), gate=ended(report=gate)))


@pytest.mark.parametrize("levels", [33, 100, 256, 900, 1_500])
def test_an_output_nested_too_deep_is_none_and_fits_no_schema(levels: int) -> None:
    """The gate of an earlier version says that it fits; with 300 levels no status could be written,
    and no run ended."""
    message = '{"a":' * levels + "1" + "}" * levels
    found = judged(message)
    assert found.result.output is None
    assert found.failure.class_ is FailureClass.AGENT_ERROR
    assert TOO_DEEP in found.failure.message


def test_an_output_of_32_levels_is_there() -> None:
    found = judged('{"a":' * 32 + "1" + "}" * 32)
    assert (found.failure, is_deeper(found.result.output, 31)) == (None, True)


def test_an_output_with_a_number_that_no_json_has_is_none() -> None:
    assert judged('{"a": 1e999}').result.output is None


# -- watches
# -----------------------------------------------------------------------------------------


def unread(kind_: str) -> float:
    return REGISTRY.get_sample_value("codexrun_unreadable_objects_total", {"kind": kind_}) or 0


class End(Exception):
    """Of a script."""


@pytest.mark.parametrize(
    "error", [ValueError, KeyError, RecursionError, OverflowError], ids=lambda e: e.__name__
)
async def test_no_consumer_ends_a_watch(error: type[Exception]) -> None:
    kube = FakeKube()
    told = []

    def seen(item: Json, gone: bool) -> None:
        if item["metadata"]["name"].startswith("odd"):
            raise error("odd")
        told.append((item["metadata"]["name"], gone))

    def item(name: str, version: int) -> Json:
        return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}}

    kube.put("jobs", item("odd-1", 1))
    kube.put("jobs", item("plain-1", 2))
    events = [
        ("ADDED", "odd-2"),
        ("ADDED", "plain-2"),
        ("DELETED", "odd-1"),
        ("DELETED", "plain-1"),
    ]
    kube.streams = [
        [{"type": t, "object": item(n, 101 + i)} for i, (t, n) in enumerate(events)] + [End()]
    ]
    before = unread("job")
    with pytest.raises(End):
        await Watcher(kube, kube.jobs, seen).run()
    assert told == [("plain-1", False), ("plain-2", False), ("plain-1", True)]
    assert unread("job") - before == 3


ODD_OBJECTS = st.builds(
    lambda spec, status, labels: {
        "metadata": {
            "name": "odd",
            "uid": "odd",
            "resourceVersion": "5",
            "labels": labels,
            "annotations": labels,
        },
        "spec": spec,
        "status": status,
        "data": spec,
    },
    JSON
    | st.dictionaries(
        st.sampled_from(["jobType", "inputs", "prompt", "model", "activeDeadlineSeconds"]), JSON
    ),
    JSON
    | st.dictionaries(
        st.sampled_from(["phase", "conditions", "containerStatuses", "startTime", "failure"]), JSON
    ),
    JSON,
)


@given(odd=ODD_OBJECTS, gone=st.booleans())
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("plural", ["config_maps", "jobs", "pods", "job_types"])
async def test_after_any_object_the_next_one_is_told(plural: str, odd: Json, gone: bool) -> None:
    """To the consumers of operator and api as they are."""
    kube = FakeKube()
    state = Cache(enqueue=lambda key: None)
    catalog = Catalog(kube)
    seen = {
        "config_maps": (state.update_prompt, catalog.update_prompt),
        "jobs": (state.update_job,),
        "pods": (state.update_pod,),
        "job_types": (catalog.update_job_type,),
    }[plural]
    for consumer in seen:
        told: list[str] = []

        def both(item: Json, away: bool, consumer: Any = consumer, told: list[str] = told) -> None:
            if item["metadata"]["name"] == "last":
                told.append("last")
            consumer(item, away)

        last = {"metadata": {"name": "last", "uid": "last", "resourceVersion": "102"}}
        kube.streams = [
            [
                {"type": "DELETED" if gone else "ADDED", "object": odd},
                {"type": "ADDED", "object": last},
                End(),
            ]
        ]
        with pytest.raises(End):
            await Watcher(kube, getattr(kube, plural), both).run()
        assert told == ["last"]


# -- kopf
# --------------------------------------------------------------------------------------------


def informers(*levels: int) -> Json:
    done = subprocess.run(
        [sys.executable, HERE / "deep_kopf.py", *map(str, levels)],
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: Json = json.loads(done.stdout)
    return found


@pytest.mark.local
def test_kopf_goes_on_and_tells_of_all_runs_however_deep_and_of_those_beside_them() -> None:
    """1,500 levels ended kopf's own watch, and with it the operator: there is no boundary around
    what kopf reads itself."""
    levels = (40, 260, 1_500, 9_990, 10_000)
    deep = informers(*levels)
    plain = informers()
    names = {
        f"uid-{where}-{which}" for where in ("listed", "watched") for which in (*levels, "plain")
    }
    assert (set(deep["told"]), deep["ended"], deep["limit"]) == (names, False, plain["limit"])
    # Measured: 12 MiB more for these ten objects, on 3.11.7, 3.12.1 and 3.13.0.
    assert deep["mib"] - plain["mib"] < 100


# -- what a newer operator wrote
# ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "trace", [(), (job(),), (job(), pod("Running")), (done_job(), pod("Failed"))], ids=len
)
def test_a_run_in_a_phase_that_is_not_known_is_left_alone(trace: tuple[Any, ...]) -> None:
    seen = seen_of(run("Paused"), *trace)
    assert plan(seen, NOON) is NOTHING
    assert not wants_slot(seen)


@pytest.mark.parametrize("phase", Phase)
def test_no_phase_is_written_over_one_that_is_not_known(phase: Phase) -> None:
    with pytest.raises(ValueError, match=r"Paused -> .* would move backwards"):
        with_phase(run("Paused"), phase, "Reason", "", NOON)


def test_a_wish_that_is_not_known_waits_for_an_operator_that_knows_it() -> None:
    """Not Rejected: the operator may have been rolled back, and be itself again tomorrow."""
    seen = seen_of(run("Pending", whenFull="Preempt"), admitted=True)
    decision = plan(seen, NOON)
    assert not wants_slot(seen)
    assert (decision.actions, decision.status.phase, decision.status.reason) == (
        (),
        Phase.PENDING,
        "UnknownValue",
    )
    assert decision.status.message.startswith(
        'spec.whenFull: "Preempt" is unknown to this version of the operator; '
    )
    assert plan(seen_of(run("Queued", whenFull="Preempt")), NOON).status.phase is Phase.QUEUED


def test_a_run_that_was_admitted_before_the_bound_goes_on() -> None:
    deep = run("Running", inputs={"a": nested(60)})
    decision = plan(
        seen_of(deep, job(), pod("Running"), job_type=kind(inputsSchema={"type": "object"})), NOON
    )
    assert decision.status is None or decision.status.phase is Phase.RUNNING


def test_one_that_waits_is_refused_by_the_bound() -> None:
    deep = run("Queued", inputs={"a": nested(60)})
    decision = plan(seen_of(deep, job_type=kind(inputsSchema={"type": "object"})), NOON)
    assert (decision.status.phase, decision.status.reason) == (Phase.REJECTED, "InvalidInputs")
    assert decision.status.message == f"spec.inputs: {TOO_DEEP}"


@given(inputs=JSON)
@settings(deadline=None)
def test_a_transition_of_any_run_is_told(inputs: Any) -> None:
    """It was missing in log and metrics, although the status was written."""
    state = Cache(enqueue=lambda key: None)
    state.update_job_type(kind_json())
    run_metrics = RunMetrics(state, "codexrun")
    one = CodexRun.model_validate(run_json(inputs={"a": inputs}))
    labels = {
        "namespace": "codexrun",
        "job_type": "hello",
        "phase": "Rejected",
        "failure_class": "",
    }

    def count() -> float:
        return REGISTRY.get_sample_value("codexrun_runs_finished_total", labels) or 0

    before = count()
    report.record_move(one, with_phase(one, Phase.REJECTED, "InvalidInputs", "", NOON), run_metrics)
    assert count() - before == 1

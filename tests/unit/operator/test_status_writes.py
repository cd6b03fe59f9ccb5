"""What is stored equals what was decided, whatever is in it; and how often it is written."""

import hashlib
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import (
    NOON,
    UID,
    agent_report,
    ended,
    gate_report,
    job,
    kind_json,
    pod,
    prompt_json,
    run,
    run_json,
    stamp,
)
from builders import given as snapshot_of
from fake_kube import FakeKube
from hypothesis import given, settings
from hypothesis import strategies as st
from odd import JSON, nested

from codexrun_core.errors import Conflict
from codexrun_core.resources import CodexRun, RunStatus
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.act.status_writer import write_status
from codexrun_operator.decide.message_pace import (
    FIRST_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    MessagePace,
)
from codexrun_operator.decide.plan import plan
from codexrun_operator.decide.status import same_content
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Key
from codexrun_operator.watch.warnings import Warnings

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")


def finished(message: str) -> RunStatus:
    """The status of a run that has ended with this final message, which fits its schema."""
    judged = {"ok": True, "sha256": hashlib.sha256(message.encode(errors="replace")).hexdigest()}
    agent = agent_report(finalMessage=message, finalMessageBytes=len(message))
    end = pod("Succeeded", agent=ended(report=agent), gate=ended(report=gate_report(output=judged)))
    status = plan(snapshot_of(run("Running"), job(), end), NOON).status
    assert status is not None
    return status


async def stored_after(before: RunStatus, after: RunStatus) -> Json:
    kube = FakeKube()
    item = run("Running").model_copy(update={"status": before})
    raw = item.dump() | {"status": before.dump()}
    raw["metadata"] = {**raw["metadata"], "uid": UID, "resourceVersion": "7"}
    kube.put("codexruns", raw)
    written = await write_status(kube, CodexRun.model_validate(raw), after)
    assert written["spec"] == raw["spec"]
    status: Json = written["status"]
    return status


OUTPUTS = [
    {"value": None},
    {"a": {"b": None, "c": [None, {"d": None}]}},
    {"empty": {}, "list": [], "text": ""},
    {"big": 2**63, "bigger": 2**70, "negative": -(2**63) - 1, "fits": 2**63 - 1},
    {"half a pair": "\ud800"},
    {"nul": "\0", "é": "\u2028"},
    {"float": 1e300, "zero": -0.0, "whole": 1.0},
]


@pytest.mark.parametrize("output", OUTPUTS, ids=",".join)
async def test_an_output_is_stored_as_it_was_decided(output: Json) -> None:
    status = finished(json.dumps(output))
    assert status.result is not None
    assert status.result.output is not None
    stored = await stored_after(run("Running").status, status)
    assert stored == status.dump()
    assert stored["result"]["output"].keys() == {
        key.encode(errors="replace").decode() for key in output
    }


@given(value=JSON | st.builds(nested, st.integers(1, 31), st.none()))
@settings(deadline=None, max_examples=50)
async def test_whatever_an_agent_says_is_stored_as_it_was_decided(value: Any) -> None:
    try:
        message = json.dumps({"value": value})
    except RecursionError:
        return
    status = finished(message)
    stored = await stored_after(run("Running").status, status)
    assert stored == status.dump()
    assert same_content(RunStatus.model_validate(stored), status)


@pytest.mark.parametrize("after", ["nothing", "less", "more"])
async def test_what_a_status_loses_is_not_stored(after: str) -> None:
    before = finished('{"a": {"b": 1}}')
    assert before.result is not None
    changed = {
        "nothing": {"result": None, "usage": None, "conditions": []},
        "less": {"result": before.result.model_copy(update={"output": {}})},
        "more": {"result": before.result.model_copy(update={"output": {"a": None, "c": 1}})},
    }
    status = before.model_copy(update=changed[after])
    assert await stored_after(before, status) == status.dump()


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
async def test_a_status_replaces_that_of_the_very_object_that_was_read(field: str) -> None:
    kube = FakeKube()
    kube.put("codexruns", run_json())
    other = run_json()
    other["metadata"][field] = "8"
    with pytest.raises(Conflict):
        await write_status(kube, CodexRun.model_validate(other), run("Queued").status)


# -- how often -----------------------------------------------------------------------------------


class Operator:
    """One whose timers ring when a test's clock has come to them."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.seconds = 0.0
        self.timers: dict[Key, float] = {}
        self.reconciler = Reconciler(self.kube, PODS, workers=1, clock=lambda: self.seconds)
        self.cache = self.reconciler.cache
        self.reconciler.queue.add_later = self.later  # type: ignore[method-assign]
        self.cache.update_prompt(prompt_json())
        self.cache.update_job_type(self.kube.put("codexjobtypes", kind_json()))
        self.cache.update_run(self.kube.put("codexruns", run_json()))

    def later(self, key: Key, seconds: float) -> None:
        self.timers[key] = min(self.seconds + seconds, self.timers.get(key, float("inf")))

    async def settle(self) -> None:
        queue = self.reconciler.queue
        while (key := queue.take()) is not None:
            await self.reconciler.reconcile(key)

    async def until(self, seconds: float) -> None:
        """Let every timer ring that is due by then."""
        await self.settle()
        while due := [key for key, when in self.timers.items() if when <= seconds]:
            key = min(due, key=lambda key: self.timers[key])
            self.seconds = max(self.seconds, self.timers.pop(key))
            self.reconciler.queue.add(key)
            await self.settle()
        self.seconds = seconds

    def status(self) -> Json:
        status: Json = self.kube.objects[self.kube.path_of("codexruns", "hello")]["status"]
        return status

    def pod(self, number: int, status: Json) -> None:
        job = self.job()
        metadata = {
            "name": f"{job['metadata']['name']}-abcde",
            "uid": "pod-1",
            "resourceVersion": str(1000 + number),
            "labels": job["metadata"]["labels"],
            "ownerReferences": [
                {"kind": "Job", "controller": True, "name": job["metadata"]["name"], "uid": "job-1"}
            ],
        }
        self.cache.update_pod({"metadata": metadata, "spec": {}, "status": status})

    def job(self) -> Json:
        (job,) = self.kube.items(self.kube.jobs)
        return job

    def count(self, verb: str, part: str) -> int:
        return len(self.kube.writes(verb, part))


async def starting() -> Operator:
    """A run whose Job is a minute old and has no pod."""
    operator = Operator()
    await operator.settle()
    created = datetime.now(UTC) - timedelta(minutes=1)
    operator.job()["metadata"]["creationTimestamp"] = stamp(created)
    operator.cache.update_job(operator.job())
    await operator.settle()
    operator.kube.calls.clear()
    return operator


def unschedulable(number: int) -> Json:
    """An autoscaler adds nodes, and the scheduler counts them."""
    message = f"0/{number + 1} nodes are available: {number + 1} Insufficient cpu."
    return {
        "phase": "Pending",
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }
        ],
    }


def image_missing(number: int) -> Json:
    reason = "ErrImagePull" if number % 2 else "ImagePullBackOff"
    waiting = {"reason": reason, "message": f"no such image, try {number}"}
    containers = [{"name": "agent", "state": {"waiting": waiting}}]
    return {"phase": "Pending", "containerStatuses": containers}


@pytest.mark.parametrize("trouble", [unschedulable, image_missing])
async def test_words_that_change_all_the_time_are_written_after_1_2_and_4_minutes(
    trouble: Callable[[int], Json],
) -> None:
    operator = await starting()
    written = []
    for second in range(0, 901, 10):
        before = operator.count("replace", "/status")
        operator.pod(second, trouble(second // 10))
        await operator.until(second)
        if operator.count("replace", "/status") > before:
            written.append(second)
    assert written == [0, 60, 180, 420, 900]
    assert operator.count("create", "/events") == 1


async def test_the_last_words_are_written_in_their_turn_although_nothing_changes_any_more() -> None:
    operator = await starting()
    for number in range(3):
        operator.pod(number, unschedulable(number))
        await operator.settle()
    assert "0/1 nodes" in operator.status()["message"]
    await operator.until(FIRST_PAUSE_SECONDS)
    assert "0/3 nodes" in operator.status()["message"]
    writes = operator.count("replace", "/status")
    await operator.until(3600)
    assert operator.count("replace", "/status") == writes


async def test_another_reason_is_written_and_told_of_at_once() -> None:
    operator = await starting()
    operator.pod(0, unschedulable(0))
    await operator.settle()
    operator.pod(1, image_missing(0))
    await operator.settle()
    assert operator.status()["reason"] == "ImagePull"
    assert operator.count("create", "/events") == 2
    operator.pod(2, image_missing(1))
    await operator.settle()
    assert operator.count("replace", "/status") == 2


async def test_after_a_restart_other_words_wait_a_minute_once_more() -> None:
    operator = await starting()
    operator.pod(0, unschedulable(0))
    await operator.settle()
    operator.cache.message_pace = MessagePace()
    operator.pod(1, unschedulable(1))
    await operator.until(FIRST_PAUSE_SECONDS - 1)
    assert operator.count("replace", "/status") == 1
    await operator.until(FIRST_PAUSE_SECONDS)
    assert operator.count("replace", "/status") == 2


async def test_nothing_is_remembered_of_a_run_that_is_over() -> None:
    operator = await starting()
    operator.pod(0, unschedulable(0))
    await operator.settle()
    assert len(operator.cache.message_pace) == 1
    operator.cache.forget(UID)
    assert len(operator.cache.message_pace) == 0


async def test_nothing_is_remembered_of_a_run_that_is_deleted_while_it_is_written() -> None:
    operator = await starting()
    replace = operator.kube.replace

    async def replace_and_delete(path: str, body: Json) -> Json:
        written = await replace(path, body)
        operator.cache.forget(UID)
        return written

    operator.kube.replace = replace_and_delete  # type: ignore[method-assign]
    operator.pod(0, unschedulable(0))
    await operator.settle()
    assert operator.count("replace", "/status") == 1
    assert len(operator.cache.message_pace) == 0


@given(
    gaps=st.lists(st.integers(0, 10_000), max_size=40),
    reasons=st.lists(st.sampled_from(["ImagePull", "Unschedulable"]), min_size=40, max_size=40),
)
def test_messages_of_one_reason_come_ever_more_slowly_and_never_stop(
    gaps: list[int], reasons: list[str]
) -> None:
    pace = MessagePace()
    now = 0
    status = run("Starting", reason=reasons[0]).status
    pace.record(UID, status, now, message_only=False)
    written = [now]
    for gap, reason in zip(gaps, reasons, strict=False):
        now += gap
        if reason != status.reason:
            status = run("Starting", reason=reason).status
            pace.record(UID, status, now, message_only=False)
            written = [now]
        elif not pace.wait(UID, status, now):
            pace.record(UID, status, now, message_only=True)
            written.append(now)
        pauses = [later - earlier for earlier, later in itertools.pairwise(written)]
        assert all(
            pause >= min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**number)
            for number, pause in enumerate(pauses)
        )
        assert pace.wait(UID, status, now) <= MAX_PAUSE_SECONDS


# -- Events of others ----------------------------------------------------------------------------


def warning(about: str, message: str, version: int, *, uid: str = "", **more: Any) -> Json:
    return {
        "metadata": {"name": f"e-{version}", "uid": uid or f"e-{version}"}
        | {"resourceVersion": str(version)},
        "involvedObject": {"kind": "Pod", "uid": about},
        "reason": "FailedMount",
        "message": message,
        **more,
    }


async def test_no_look_at_a_run_that_does_not_start_asks_for_events() -> None:
    operator = await starting()
    operator.kube.reads.clear()
    for number in range(60):
        operator.pod(number, unschedulable(number))
        await operator.until(10 * number)
    assert not [read for read in operator.kube.reads if "/events" in read]


async def test_a_warning_is_told_whether_it_comes_before_its_pod_or_after() -> None:
    for before in (True, False):
        operator = await starting()
        told = warning("pod-1", 'secret "s" not found', 5)
        if before:
            operator.cache.update_warning(told)
        operator.pod(0, {"phase": "Pending"})
        await operator.settle()
        operator.cache.update_warning(told)
        await operator.settle()
        assert operator.status()["reason"] == "MissingVolume"
        assert 'secret "s" not found' in operator.status()["message"]


async def test_a_warning_about_another_s_pod_is_nothing_here() -> None:
    operator = await starting()
    operator.pod(0, {"phase": "Pending"})
    await operator.settle()
    operator.cache.update_warning(warning("pod-2", "theirs", 5))
    assert operator.reconciler.queue.depth == 0
    await operator.settle()
    assert operator.status()["reason"] == "Starting"


async def test_of_a_job_that_can_make_no_pod_the_newest_cause_is_shown() -> None:
    operator = await starting()
    uid = operator.job()["metadata"]["uid"]
    for version, message in ((8, "quota"), (6, "policy"), (9, "webhook")):
        operator.cache.update_warning(warning(uid, message, version, reason="FailedCreate"))
    await operator.settle()
    assert operator.status()["reason"] == "PodRefused"
    assert "webhook" in operator.status()["message"]


def test_warnings_are_replaced_bounded_and_forgotten() -> None:
    warnings = Warnings(max_warnings=3)
    for version in range(1, 6):
        warnings.update(warning(f"pod-{version}", f"m{version}", version))
    assert [bool(warnings.of([f"pod-{version}"])) for version in range(1, 6)] == [
        False,
        False,
        True,
        True,
        True,
    ]
    warnings.update(warning("pod-3", "m6", 6, uid="e-3"))
    assert [event.message for event in warnings.of(["pod-3", "pod-4"])] == ["m4", "m6"]
    warnings.update(warning("pod-3", "older", 2, uid="e-3"))
    assert [event.message for event in warnings.of(["pod-3"])] == ["m6"]
    warnings.replace(["e-5"], 6)
    assert len(warnings) == 1
    warnings.update(warning("pod-5", "m5", 7, uid="e-5"), gone=True)
    assert (len(warnings), warnings._by_object) == (0, {})
    warnings.update(warning("pod-7", "what nothing follows from", 7, reason="BackOff"))
    warnings.update(warning("", "about nothing", 8))
    assert len(warnings) == 0

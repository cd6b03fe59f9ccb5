"""One odd object hurts only itself: mirror, writer, catalog and routes go on; odd bodies are 4xx,
never a 500."""

import itertools
import json
from typing import Any

import pytest
from apistand import Stand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifests import job_type
from odd import JSON, LEVELS, nested
from prometheus_client import REGISTRY

from codexrun_api.console.view.status_text import STATES, state_of
from codexrun_api.mirror.write_queue import RegistryWriter
from codexrun_api.schemas import responses
from codexrun_core.errors import Unavailable
from codexrun_core.registry import SchemaError
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import FailureClass, Phase
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import record_of
from codexrun_core.schemas.nesting import TOO_DEEP

Json = dict[str, Any]
NUMBERS = itertools.count(1_000_000)


def unread(kind: str = "codexrun") -> float:
    return REGISTRY.get_sample_value("codexrun_unreadable_objects_total", {"kind": kind}) or 0


def raw_run(name: str, inputs: Any = None, **status: Any) -> Json:
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "namespace": "codexrun",
        "resourceVersion": str(next(NUMBERS)),
    }
    metadata["creationTimestamp"] = "2026-11-24T12:00:00Z"
    return {
        "metadata": metadata,
        "spec": {"jobType": "hello", "inputs": {"a": inputs}},
        "status": status,
    }


async def written(stand: Stand, *uids: str) -> None:
    async def holds() -> bool:
        return stand.services.mirror.writer.lag == 0 and all(
            [await stand.registry.get(uid) for uid in uids]
        )

    await stand.settle(holds)
    assert stand.services.broken is None


# -- mirror, writer, routes
# ----------------------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
async def test_a_deeply_nested_run_has_a_row_and_is_shown(stand: Stand, levels: int) -> None:
    """255 levels ended the mirror, and with it every route, until somebody deleted the object."""
    mirror = stand.services.mirror
    mirror.seen(raw_run("deep", nested(levels), phase="Pending"))
    mirror.seen(raw_run("plain", "text", phase="Pending"))
    await written(stand, "uid-deep", "uid-plain")
    for path in ("/runs", "/runs/deep", "/runs/uid-deep/details", "/stats"):
        assert (await stand.http.get(path)).status_code == 200, path
    mirror.seen(raw_run("deep", nested(levels), phase="Rejected"), gone=True)
    assert mirror.find("deep") is None


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    inputs=JSON,
    status=JSON
    | st.dictionaries(
        st.sampled_from(["phase", "conditions", "startedAt", "usage", "failure", "result"]), JSON
    ),
    gone=st.booleans(),
)
async def test_after_any_run_the_next_one_has_its_row(
    stand: Stand, inputs: Any, status: Any, gone: bool
) -> None:
    number = next(NUMBERS)
    stand.services.mirror.seen(raw_run(f"odd-{number}", inputs) | {"status": status}, gone)
    stand.services.mirror.seen(raw_run(f"plain-{number}", phase="Pending"))
    await written(stand, f"uid-plain-{number}")


async def test_an_unreadable_run_is_counted_and_gone_when_it_is_deleted(stand: Stand) -> None:
    mirror = stand.services.mirror
    mirror.seen(raw_run("mine", phase="Running"))
    before = unread()
    odd = raw_run("mine", phase="Running")
    odd["spec"] = {"jobType": 7}
    mirror.seen(odd)
    assert mirror.find("mine") is not None
    mirror.seen(odd, gone=True)
    assert (unread() - before, mirror.find("mine")) == (1, None)


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), RecursionError("deep")],
    ids=lambda e: type(e).__name__,
)
async def test_a_change_that_cannot_be_written_is_set_aside(stand: Stand, error: Exception) -> None:
    """It ended the writer, or stood before all others."""
    writer = RegistryWriter(stand.registry)
    record = stand.registry.record

    async def sometimes(run: Any) -> Any:
        if run.name == "odd":
            raise error
        return await record(run)

    stand.registry.record = sometimes  # type: ignore[method-assign]
    before = unread()
    for name in ("odd", "plain"):
        writer.changed(CodexRun.model_validate(raw_run(name, phase="Pending")))
    await writer.drain()
    assert (unread() - before, writer.lag) == (1, 0)
    assert await stand.registry.get("uid-plain") is not None


@pytest.mark.parametrize("error", [Unavailable("registry: away"), SchemaError("registry: older")])
async def test_what_waits_for_a_registry_that_is_away_is_not_set_aside(
    stand: Stand, error: Exception
) -> None:
    writer = RegistryWriter(stand.registry)
    before = unread()

    async def away(run: Any) -> Any:
        raise error

    stand.registry.record = away  # type: ignore[method-assign]
    writer.changed(CodexRun.model_validate(raw_run("mine", phase="Pending")))
    with pytest.raises(Unavailable):
        await writer.drain()
    assert (unread() - before, writer.lag > 0) == (0, True)


async def test_a_job_type_with_a_deep_schema_leaves_the_list_of_the_others(stand: Stand) -> None:
    schema: Json = {}
    for _ in range(300):
        schema = {"not": schema}
    for kind in (
        job_type("deep", inputsSchema=schema, outputSchema=schema),
        job_type("odd", model=""),
        job_type("plain"),
    ):
        kind["metadata"] |= {"uid": f"uid-{kind['metadata']['name']}", "resourceVersion": "7"}
        stand.services.catalog.update_job_type(kind)
    names = {one["name"] for one in (await stand.http.get("/jobtypes")).json()["job_types"]}
    assert names == {"hello", "deep", "plain"}


# -- values of a newer operator
# ------------------------------------------------------------------------

NEWER = {
    "phase": "Paused",
    "reason": "Preempted",
    "failure": {"class": "preempted", "message": "Another run was more urgent", "retryable": True},
    "sandbox": "vm",
    "conditions": [
        {
            "type": "Held",
            "status": "Perhaps",
            "reason": "New",
            "message": "",
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }
    ],
}


async def test_a_run_in_a_phase_that_is_not_known_is_shown_as_it_is(stand: Stand) -> None:
    newer = raw_run("mine") | {"status": NEWER}
    newer["spec"]["whenFull"] = "Preempt"
    for raw in (raw_run("mine", phase="Running"), newer):
        raw["metadata"]["resourceVersion"] = str(next(NUMBERS))
        stand.services.mirror.seen(raw)
    await written(stand, "uid-mine")
    shown = (await stand.http.get("/runs/mine")).json()
    assert (shown["status"], shown["reason"], shown["failure"]["class"]) == (
        "paused",
        "Preempted",
        "preempted",
    )
    assert shown["failure"]["retryable"] is True
    (listed,) = (await stand.http.get("/runs")).json()["runs"]
    assert listed["status"] == "paused"
    details = (await stand.http.get("/runs/mine/details")).json()
    assert details["conditions"][0]["status"] == "Perhaps"
    assert await stand.registry.counts(Filter()) == {"paused": 1}
    assert stand.services.mirror.find("mine") is not None
    stand.services.mirror.seen(raw_run("mine", phase="Succeeded"))
    await stand.settle(lambda: _status(stand, "succeeded"))
    told = [event.status for event in await stand.registry.events("uid-mine")]
    assert told == ["running", "paused", "succeeded"]


async def _status(stand: Stand, status: str) -> bool:
    record = await stand.registry.get("uid-mine")
    return record is not None and record.status == status


@given(text=st.text(min_size=1, max_size=60))
def test_any_text_may_be_a_phase_or_a_failure_class(text: str) -> None:
    raw = raw_run("mine", phase=text, failure={"class": text, "message": ""})
    run = CodexRun.model_validate(raw)
    status = run.status
    assert status.failure is not None
    assert (status.phase, status.failure.class_) == (text, text)
    assert status.phase.known == (text in list(Phase))
    assert status.failure.class_.known == (text in list(FailureClass))
    assert status.phase.terminal == (text in ("Succeeded", "Failed", "Cancelled", "Rejected"))
    assert status.failure.class_.known or not status.failure.class_.retryable
    assert run.dump()["status"]["phase"] == text
    assert responses.of_record(record_of(run)).status == text.lower()


def test_the_console_calls_a_status_that_it_does_not_know_by_its_name() -> None:
    assert (state_of("paused").word, state_of("paused").active) == ("Paused", True)
    assert all(state_of(status) is state for status, state in STATES.items())


# -- bodies
# ----------------------------------------------------------------------------------------------


def bodies() -> list[tuple[str, bytes]]:
    found = [
        (
            f"inputs of {levels} levels",
            b'{"job_type": "hello", "inputs": {"a": ' + b"[" * levels + b"]" * levels + b"}}",
        )
        for levels in (32, 256, 900, 1_500, 9_000, 100_000)
    ]
    odd = (
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"9" * 5_000,
        b"9" * 400,
        b'"\\ud800"',
        b"[" * 300 + b"]" * 300,
        b"-0",
        b"1.5",
    )
    fields = (
        b"inputs",
        b"priority",
        b"limits",
        b"labels",
        b"ttl_seconds_after_finished",
        b"name",
        b"prompt_version",
        b"x",
    )
    for field in fields:
        for value in odd:
            found.append(
                (
                    f"{field.decode()} {value[:9].decode()}",
                    b'{"job_type": "hello", "%s": %s}' % (field, value),
                )
            )
    return found


@pytest.mark.parametrize(
    "path", ["/runs/start", "/runs/mine/retry", "/runs/mine/cancel", "/runs/cancel", "/runs/retry"]
)
async def test_an_odd_body_is_the_callers_fault(stand: Stand, path: str) -> None:
    stand.services.mirror.seen(raw_run("mine", phase="Failed"))
    await written(stand, "uid-mine")
    for about, body in bodies():
        answer = await stand.http.post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (about, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == "application/problem+json", about
    assert stand.services.broken is None


@pytest.mark.parametrize("levels", [33, 100, 400])
async def test_inputs_that_are_nested_too_deep_are_refused_in_the_words_of_admission(
    stand: Stand, levels: int
) -> None:
    answer = await stand.start(inputs={"name": "x", "deep": nested(levels - 1)})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["pointer"]) == (422, "/inputs")
    assert error["detail"].endswith(TOO_DEEP)
    assert stand.kube.run_names == []


async def test_inputs_of_32_levels_start(stand: Stand) -> None:
    assert (await stand.start(inputs={"name": "x", "deep": nested(31)})).status_code == 202


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=JSON
    | st.dictionaries(
        st.sampled_from(["job_type", "inputs", "limits", "labels", "priority", "name"]), JSON
    )
)
async def test_no_body_is_a_fault_of_the_api(stand: Stand, body: Any) -> None:
    try:
        content = json.dumps(body).encode()
    except RecursionError:
        content = b"[" * 9_990 + b"]" * 9_990
    answer = await stand.http.post(
        "/runs/start", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code < 500, answer.text

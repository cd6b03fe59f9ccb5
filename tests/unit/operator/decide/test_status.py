"""Conditions are the record, the phase follows from them; a status write names what it takes
away."""

from typing import Any

import pytest
from builders import NOON, ago, run
from fake_kube import FakeKube

from codexrun_core.resources import RunStatus
from codexrun_core.resources.phases import LIVE_RUNS_SELECTOR, FailureClass, Phase
from codexrun_operator.act.status_writer import write_status
from codexrun_operator.decide.status import CONDITIONS, SUBJECT, duration, same_content, with_phase

TERMINAL = [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.REJECTED]


def phase_of(status: RunStatus) -> Phase:
    """The phase, from the conditions alone."""
    said = {c.type: c.status for c in status.conditions}
    reasons = {c.type: c.reason for c in status.conditions}
    if said.get("Cancelled") == "True":
        return Phase.CANCELLED
    if said["Accepted"] == "False":
        return Phase.REJECTED
    if said["Succeeded"] != "Unknown":
        return Phase.SUCCEEDED if said["Succeeded"] == "True" else Phase.FAILED
    if said["Accepted"] == "Unknown":
        return Phase.PENDING
    if said["Admitted"] == "False":
        return Phase.QUEUED
    if reasons["Succeeded"] not in ("Starting", "AgentRunning"):
        return Phase.STOPPING
    return Phase.RUNNING if said["Started"] == "True" else Phase.STARTING


WAYS = [
    [Phase.PENDING],
    [Phase.QUEUED],
    [Phase.PENDING, Phase.QUEUED, Phase.STARTING],
    [Phase.STARTING, Phase.RUNNING],
    [Phase.STARTING, Phase.STOPPING],
    [Phase.STARTING, Phase.RUNNING, Phase.STOPPING],
    [Phase.STARTING, Phase.RUNNING, Phase.SUCCEEDED],
    [Phase.STARTING, Phase.RUNNING, Phase.FAILED],
    [Phase.STARTING, Phase.STOPPING, Phase.FAILED],
    [Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.CANCELLED],
    [Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.SUCCEEDED],
    [Phase.QUEUED, Phase.CANCELLED],
    [Phase.CANCELLED],
    [Phase.PENDING, Phase.REJECTED],
    [Phase.QUEUED, Phase.REJECTED],
    [Phase.SUCCEEDED],
]
WORDS = {Phase.RUNNING: "AgentRunning", Phase.STOPPING: "CancelRequested"}


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_the_phase_follows_from_the_conditions(way: list[Phase]) -> None:
    of = run()
    for phase in way:
        of = of.model_copy(
            update={"status": with_phase(of, phase, WORDS.get(phase, phase.value), "said", NOON)}
        )
        assert phase_of(of.status) is phase
        RunStatus.model_validate(of.status.dump())


def test_every_phase_says_its_conditions_and_what_it_is_about() -> None:
    assert set(CONDITIONS) == set(SUBJECT) == set(Phase)
    for phase, subjects in SUBJECT.items():
        assert set(subjects) <= CONDITIONS[phase].keys()


@pytest.mark.parametrize("phase", Phase)
def test_finished_is_true_at_every_end_and_at_no_other_time(phase: Phase) -> None:
    status = with_phase(run(), phase, "Reason", "said", NOON)
    finished = [(c.status, c.reason) for c in status.conditions if c.type == "Finished"]
    assert finished == ([("True", phase.value)] if phase.terminal else [])


def test_ranks() -> None:
    live = [Phase.PENDING, Phase.QUEUED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING]
    assert [phase.rank for phase in live] == [0, 1, 2, 3, 4]
    assert {phase.rank for phase in TERMINAL} == {5}
    assert [phase for phase in Phase if phase.terminal] == TERMINAL
    assert LIVE_RUNS_SELECTOR == (
        "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Cancelled,status.phase!=Rejected"
    )


def test_failure_classes_are_the_closed_list() -> None:
    assert [c.value for c in FailureClass] == [
        "auth",
        "rate_limit",
        "quota",
        "budget",
        "timeout",
        "stall",
        "oom",
        "storage",
        "evicted",
        "node_lost",
        "image",
        "unschedulable",
        "workspace",
        "config",
        "guardrail",
        "agent_error",
        "model_error",
        "policy",
        "silent_death",
        "internal",
    ]


@pytest.mark.parametrize("old", list(Phase))
@pytest.mark.parametrize("new", list(Phase))
def test_nothing_goes_back(old: Phase, new: Phase) -> None:
    if new.rank < old.rank or (old.terminal and new is not old):
        with pytest.raises(ValueError, match="would move backwards"):
            with_phase(run(old), new, "x", "", NOON)
    else:
        assert with_phase(run(old), new, "x", "", NOON).phase is new


def test_a_condition_s_time_moves_with_its_status_only() -> None:
    of = run()
    of = of.model_copy(
        update={"status": with_phase(of, Phase.QUEUED, "ConcurrencyLimit", "", ago(60))}
    )
    again = with_phase(of, Phase.QUEUED, "Suspended", "", NOON)
    assert {c.type: c.last_transition_time for c in again.conditions}["Admitted"] == ago(60)
    started = with_phase(of, Phase.STARTING, "Starting", "", NOON)
    times = {c.type: c.last_transition_time for c in started.conditions}
    assert (times["Accepted"], times["Admitted"], times["Started"]) == (ago(60), NOON, NOON)


def test_a_long_message_is_cut_for_status_and_condition() -> None:
    status = with_phase(run(), Phase.QUEUED, "x", "m" * 5000, NOON)
    RunStatus.model_validate(status.dump())
    assert status.message is not None
    assert len(status.message) == 2048


def test_only_the_generation_is_nothing_new() -> None:
    status = with_phase(run(), Phase.QUEUED, "x", "m", NOON)
    assert same_content(status, status.model_copy(update={"observed_generation": 9}))
    assert not same_content(status, status.model_copy(update={"message": "n"}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (42, "42s"), (185, "3m5s"), (3725, "1h2m"), (700_000, "194h26m")],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(ago(seconds), NOON) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"message": "x"}, {}),
        (
            {"failure": {"class": "oom", "message": "x", "exitCode": 137}},
            {"failure": {"class": "oom", "message": "y"}},
        ),
        ({"failure": {"class": "oom", "message": "x"}}, {}),
        (
            {"usage": {"totalTokens": 5, "costMicroUSD": 7, "costCents": 1}},
            {"usage": {"totalTokens": 6}},
        ),
        ({}, {"usage": {"totalTokens": 6}}),
    ],
)
async def test_a_write_takes_away_what_is_gone(old: dict[str, Any], new: dict[str, Any]) -> None:
    kube = FakeKube()
    of = run("Running", status=old)
    kube.put("codexruns", of.dump())
    wanted = RunStatus.model_validate({"phase": "Failed", "reason": "Oom", **new})
    written = await write_status(kube, of, wanted)
    _, path, body = kube.calls[-1]
    assert path.endswith("/codexruns/hello/status")
    assert body["metadata"]["resourceVersion"] == of.metadata.resource_version
    assert written["status"] == wanted.dump()

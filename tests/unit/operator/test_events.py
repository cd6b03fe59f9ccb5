"""Which transitions people are told of by an Event."""

import pytest
from builders import NOON, run

from codexrun_core.resources.phases import Phase
from codexrun_operator.act.events import event_for
from codexrun_operator.decide.status import with_phase

TOLD = {
    Phase.SUCCEEDED: "Normal",
    Phase.CANCELLED: "Normal",
    Phase.FAILED: "Warning",
    Phase.REJECTED: "Warning",
}


@pytest.mark.parametrize("phase", Phase)
def test_every_end_has_an_event(phase: Phase) -> None:
    reason = "Starting" if phase is Phase.STARTING else "Reason"
    event = event_for(run(), with_phase(run(), phase, reason, "said", NOON), NOON)
    assert (event and event["type"]) == TOLD.get(phase)
    if event:
        assert (event["reason"], event["message"]) == ("Reason", "said")


def test_the_same_end_told_twice_is_one_event() -> None:
    status = with_phase(run(), Phase.SUCCEEDED, "Completed", "said", NOON)
    first, second = event_for(run(), status, NOON), event_for(run(), status, NOON)
    assert first
    assert second
    assert first["metadata"]["name"] == second["metadata"]["name"]


def test_a_start_that_does_not_get_on_has_a_warning() -> None:
    status = with_phase(run(), Phase.STARTING, "ImagePull", "no such image", NOON)
    event = event_for(run(), status, NOON)
    assert event
    assert event["type"] == "Warning"

"""Jobs as they are read: what tells that one has had its pod."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOON, stamp

from codexrun_operator.decide.observed import job_from

Json = dict[str, Any]
LATER = NOON + timedelta(minutes=3)


def suspension(status: str = "True", since: datetime = NOON) -> list[Json]:
    return [{"type": "Suspended", "status": status, "lastTransitionTime": stamp(since)}]


@pytest.mark.parametrize(
    ("generation", "status", "had_pod"),
    [
        pytest.param(1, {}, False, id="nobody has seen it yet"),
        pytest.param(1, {"conditions": suspension()}, False, id="created suspended"),
        pytest.param(
            1,
            {"conditions": suspension(since=LATER)},
            False,
            id="created suspended, and its controller was away: nobody has resumed it",
        ),
        pytest.param(
            2,
            {"conditions": suspension(since=NOON + timedelta(seconds=4))},
            False,
            id="suspended, or edited, before its controller saw it",
        ),
        pytest.param(
            3,
            {"conditions": suspension(since=LATER)},
            True,
            id="resumed and suspended again, its startTime taken away",
        ),
        pytest.param(
            2,
            {"conditions": suspension("False", LATER), "startTime": stamp(LATER)},
            True,
            id="resumed",
        ),
        pytest.param(
            3,
            {"conditions": suspension("False", NOON)},
            True,
            id="resumed and suspended again, which its controller has not seen",
        ),
        pytest.param(2, {"conditions": []}, False, id="suspended before anybody saw it"),
        pytest.param(
            2, {"conditions": [{"type": "Suspended", "status": "True"}]}, False, id="without a date"
        ),
        pytest.param(1, {"startTime": stamp(NOON)}, True, id="startTime"),
        pytest.param(2, {"active": 1}, True, id="active"),
        pytest.param(2, {"terminating": 1}, True, id="terminating"),
        pytest.param(2, {"failed": 1}, True, id="failed"),
        pytest.param(2, {"succeeded": 1}, True, id="succeeded"),
        pytest.param(2, {"uncountedTerminatedPods": {"failed": ["p"]}}, True, id="uncounted"),
        pytest.param(
            2,
            {"active": 0, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}},
            False,
            id="zeros",
        ),
    ],
)
def test_a_suspended_job_tells_whether_it_had_its_pod(
    generation: int, status: Json, had_pod: bool
) -> None:
    """Kueue takes startTime away, and no count has a pod that a suspension has deleted."""
    metadata = {
        "name": "hello-11111111-1",
        "uid": "job-1",
        "creationTimestamp": stamp(NOON),
        "generation": generation,
    }
    job = job_from({"metadata": metadata, "spec": {"suspend": True}, "status": status})
    assert job.had_pod is had_pod

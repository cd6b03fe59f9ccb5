"""Who holds a slot and who waits, in their order."""

from datetime import UTC, datetime, timedelta
from typing import Any

from codexrun_api.console.view.run_rows import holders, queue
from codexrun_core.resources import CodexRun

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def run(name: str, phase: str, age: int, **spec: Any) -> CodexRun:
    created = (NOON - timedelta(seconds=age)).isoformat()
    return CodexRun.model_validate(
        {
            "metadata": {"name": name, "uid": name, "creationTimestamp": created},
            "spec": {"jobType": "hello", **spec},
            "status": {"phase": phase},
        }
    )


RUNS = [
    run("young", "Queued", 1, inputs={"ref": "main"}),
    run("old", "Queued", 9),
    run("urgent", "Queued", 0, priority=5),
    run("runs", "Running", 60),
    run("starts", "Starting", 50),
    run("stops", "Stopping", 70),
    run("ended", "Succeeded", 80),
    run("pending", "Pending", 90),
]


def test_the_queue_is_in_the_order_of_admission() -> None:
    assert [row.name for row in queue(RUNS, None)] == ["urgent", "old", "young"]
    assert [row.title for row in queue(RUNS, "Review {{ref}}")][2] == "Review main"


def test_who_holds_a_slot_the_oldest_first() -> None:
    assert [row.name for row in holders(RUNS, None)] == ["stops", "runs", "starts"]

"""Rows and CodexRuns that tests are made of; a test names only what decides."""

import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from codexrun_core.registry import Registry
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.record import RunRecord, record_of

OnRegistry = Callable[[Callable[[Registry], Coroutine[Any, Any, None]]], None]
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
UID = "3f0c5a52-6d0e-4f5e-9f1b-0d6c1c1c7a11"
RANKS = {phase.lower(): phase.rank for phase in Phase}


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def run_id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def row(number: int = 0, status: str = "running", **given: Any) -> RunRecord:
    """The row of run `number`; every number is a minute older than the one after."""
    created = given.pop("created_at", later(60 * number))
    defaults: dict[str, Any] = {
        "run_id": run_id(number),
        "name": f"run-{number}",
        "namespace": "codexrun",
        "job_type": "hello",
        "status": status,
        "rank": RANKS[status],
        "created_at": created,
        "updated_at": created,
    }
    return RunRecord(**{**defaults, **given})


def codex_run(phase: str = "Running", version: int = 1, **status: Any) -> CodexRun:
    """A CodexRun as the apiserver gives it."""
    return CodexRun.model_validate(
        {
            "metadata": {
                "name": "hello",
                "namespace": "codexrun",
                "uid": UID,
                "resourceVersion": str(version),
                "creationTimestamp": "2026-06-01T12:00:00Z",
            },
            "spec": {"jobType": "hello", "inputs": {"name": "world"}},
            "status": {"phase": phase, **status},
        }
    )


def seen(phase: str, version: int = 1, **status: Any) -> RunRecord:
    """The row that such a CodexRun amounts to."""
    return record_of(codex_run(phase, version, **status))

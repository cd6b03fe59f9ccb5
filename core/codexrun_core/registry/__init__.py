"""The registry: one row per run, kept when the object is gone. A mirror for screens and callers,
never what decides.

`Registry` is loaded when it is asked for, so that whoever needs only the row (operator, CLI) does
without a database library.
"""

from typing import TYPE_CHECKING, Any

from codexrun_core.kube.client import Unavailable
from codexrun_core.runs.filters import BadToken, Filter, Page
from codexrun_core.runs.record import RunRecord, is_later, place_of, record_of
from codexrun_core.runs.sorting import NEWEST, Sort, read_sort
from codexrun_core.runs.stored_spec import StoredSpec, read_spec

if TYPE_CHECKING:
    from codexrun_core.registry.schema import SchemaError
    from codexrun_core.registry.store import JobTypeStats, PromptStats, Registry, RunEvent, Stats

__all__ = [
    "NEWEST",
    "BadToken",
    "Filter",
    "JobTypeStats",
    "Page",
    "PromptStats",
    "Registry",
    "RunEvent",
    "RunRecord",
    "SchemaError",
    "Sort",
    "Stats",
    "StoredSpec",
    "Unavailable",
    "is_later",
    "place_of",
    "read_sort",
    "read_spec",
    "record_of",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from codexrun_core.registry import schema, store

        return getattr(schema if name == "SchemaError" else store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The registry: one row per run, kept when the object is gone. A mirror for screens and callers,
never what decides.

`Registry` is loaded when it is asked for, so that whoever needs only its types does without a
database library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codexrun_core.registry.schema import SchemaError
    from codexrun_core.registry.store import JobTypeStats, PromptStats, Registry, RunEvent, Stats

__all__ = ["JobTypeStats", "PromptStats", "Registry", "RunEvent", "SchemaError", "Stats"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from codexrun_core.registry import schema, store

        return getattr(schema if name == "SchemaError" else store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

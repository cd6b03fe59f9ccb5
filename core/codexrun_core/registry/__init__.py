"""The registry: one row per run, kept when the object is gone. A mirror for screens and callers,
never what decides.

`Registry` is loaded when it is asked for, so that whoever needs only its types does without a
database library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codexrun_core.registry.registry import Registry
    from codexrun_core.registry.rows import RunEvent
    from codexrun_core.registry.schema import SchemaError
    from codexrun_core.registry.totals import Group, JobTypeStats, PromptStats, Stats, UsualRun

__all__ = [
    "Group",
    "JobTypeStats",
    "PromptStats",
    "Registry",
    "RunEvent",
    "SchemaError",
    "Stats",
    "UsualRun",
]

_MODULES = {
    "Registry": "registry",
    "RunEvent": "rows",
    "SchemaError": "schema",
    "Group": "totals",
    "JobTypeStats": "totals",
    "PromptStats": "totals",
    "Stats": "totals",
    "UsualRun": "totals",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

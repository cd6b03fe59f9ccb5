"""The custom resources as pydantic models: the one source of the CRD schemas in crds/ and of what
the parts parse.

The models are loaded when they are asked for, so that whoever needs only `phases` (the command line
at its start) does without pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codexrun_core.resources.codexjobtype import CodexJobType, JobTypeSpec, JobTypeStatus
    from codexrun_core.resources.codexrun import (
        CodexRun,
        Failure,
        PromptUsed,
        Result,
        RunSpec,
        RunStatus,
        Usage,
    )
    from codexrun_core.resources.fields import GROUP, VERSION, Condition, ObjectMeta

__all__ = [
    "GROUP",
    "VERSION",
    "CodexJobType",
    "CodexRun",
    "Condition",
    "Failure",
    "JobTypeSpec",
    "JobTypeStatus",
    "ObjectMeta",
    "PromptUsed",
    "Result",
    "RunSpec",
    "RunStatus",
    "Usage",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in ("codexrun", "codexjobtype", "fields"):
            names = vars(import_module(f"{__name__}.{module}"))
            if name in names:
                return names[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The custom resources as pydantic models: the one source of the CRD schemas in crds/ and of what
the parts parse."""

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

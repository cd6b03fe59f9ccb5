"""What a row's spec asks for, part by part. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from codexrun_core.resources.codexrun import Cancel, GitWorkspace, Workspace
from codexrun_core.resources.fields import Part
from codexrun_core.resources.limits import Limits

_Part = TypeVar("_Part", bound=Part)


@dataclass(frozen=True)
class StoredSpec:
    """The fields of a run's spec that people are shown and that a repetition starts from; what is
    not given is None."""

    limits: Limits
    git: GitWorkspace | None
    cancel: Cancel | None
    prompt_version: str | None
    model: str | None
    effort: str | None
    priority: int


def read_spec(spec: Mapping[str, Any]) -> StoredSpec:
    """Read `RunRecord.spec`, which any version may have written: a part that does not fit is as if
    it were not given."""
    workspace = _part(Workspace, spec.get("workspace"))
    priority = spec.get("priority")
    return StoredSpec(
        limits=_part(Limits, spec.get("limits")) or Limits(),
        git=workspace.git if workspace else None,
        cancel=_part(Cancel, spec.get("cancel")),
        prompt_version=_text(spec.get("promptVersion")),
        model=_text(spec.get("model")),
        effort=_text(spec.get("effort")),
        priority=priority if isinstance(priority, int) else 0,
    )


def _part(kind: type[_Part], value: object) -> _Part | None:
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None

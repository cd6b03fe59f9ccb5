"""Read a run as far as it can be read. Pure, but for the log line of one that cannot.

A run of another version, or one that was edited, may have fields that this version cannot read.
What is left of it is enough to cancel it, to end it in time, and to keep what its pod has said.
"""

from typing import Any

from pydantic import Field, ValidationError

from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.schemas.inputs import omit_above_limit
from codexrun_core.unreadable import one_object

Json = dict[str, Any]
FieldPath = tuple[str, ...]

# Read in the place of a field that a run cannot be without. A run that is not read in full does not
# start, so that the job type does not matter; a cancel counts, whoever has asked for it.
STAND_INS: dict[FieldPath, Any] = {
    ("spec", "jobType"): "unreadable",
    ("spec", "cancel"): {"requestedBy": "unreadable"},
}
MAX_PASSES = 8  # each leaves out all that the one before has found


class PartlyReadRun(CodexRun):
    """A run without the fields that cannot be read: `unreadable` names them, such as
    `spec.limits.maxTokens`, and `kept` has those of the status, which are written as they were."""

    unreadable: tuple[str, ...] = Field(default=(), exclude=True)
    kept: dict[str, Any] = Field(default_factory=dict, exclude=True)


def unreadable_fields(run: CodexRun) -> tuple[str, ...]:
    """Return the fields of the run that could not be read; none of one that was read in full."""
    return run.unreadable if isinstance(run, PartlyReadRun) else ()


def is_readable(run: CodexRun, field: str) -> bool:
    """Return whether this field of the spec is what the run says; else it is a stand-in or a
    default. field: such as `jobType`."""
    return not {"spec", f"spec.{field}"} & set(unreadable_fields(run))


def read_run(raw: Json) -> CodexRun:
    """Return a CodexRun as the apiserver sent it, without inputs that can start nothing; a
    PartlyReadRun, which is logged and counted, where some of it cannot be read.

    Raises:
        ValidationError: nothing of it can be.
    """
    metadata = raw["metadata"]
    run: CodexRun | None = None
    with one_object("codexrun", str(metadata["name"]), str(metadata.get("resourceVersion", ""))):
        run = CodexRun.model_validate(raw)
    if run is None:
        run = _read_rest(raw)
    if run.spec.inputs:
        run.spec.inputs = omit_above_limit(run.spec.inputs)
    return run


def fields_kept(resource: CodexRun | CodexJobType) -> Json:
    """Return the fields of the status that could not be read: they are stored again as they are,
    unless they are decided anew."""
    return resource.kept if isinstance(resource, PartlyReadRun) else {}


def _read_rest(raw: Json) -> CodexRun:
    rest: Json = {part: raw[part] for part in ("metadata", "spec", "status") if part in raw}
    fields: set[FieldPath] = set()
    for _ in range(MAX_PASSES):
        try:
            run = PartlyReadRun.model_validate(rest)
        except ValidationError as error:
            for problem in error.errors(include_input=False, include_url=False):
                rest, field = _leave_out(rest, problem["loc"])
                fields.add(field)
            continue
        if not (run.metadata.uid and run.metadata.resource_version):
            break
        status_keys = [key for part, *keys in fields if part == "status" for key in keys]
        kept = {key: raw["status"][key] for key in status_keys}
        names = tuple(sorted(".".join(field) for field in fields))
        return run.model_copy(update={"unreadable": names, "kept": kept})
    return CodexRun.model_validate(raw)


def _leave_out(rest: Json, location: tuple[int | str, ...]) -> tuple[Json, FieldPath]:
    """Return the run without the field at `location`, and the name of that field; where the field
    is absent, it is the one that lacks it."""
    if not isinstance(rest.get("spec"), dict):
        return rest | {"spec": {"jobType": STAND_INS["spec", "jobType"]}}, ("spec",)
    field: FieldPath = ()
    part: Any = rest
    for key in location:
        if not isinstance(part, dict) or key not in part:
            break
        part = part[key]
        field = (*field, str(key))
    if field[:1] == ("status",) or location[:2] in STAND_INS:
        field = tuple(map(str, location[:2]))
    return _without(rest, field), field


def _without(part: Json, field: FieldPath, above: FieldPath = ()) -> Json:
    """Return `part` without a field, or with its stand-in. Only the objects on the way to the field
    are copied."""
    if not field:
        return part
    key, *below = field
    path = (*above, key)
    if below and isinstance(part.get(key), dict):
        return part | {key: _without(part[key], tuple(below), path)}
    if path in STAND_INS:
        return part | {key: STAND_INS[path]}
    return {name: value for name, value in part.items() if name != key}

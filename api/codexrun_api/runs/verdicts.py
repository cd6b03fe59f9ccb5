"""What the operator has said about a new run, and how a caller is told. Pure."""

from enum import Enum

from codexrun_api.schemas.problems import FieldError, Problem, pointed
from codexrun_core.resources import CodexRun
from codexrun_core.resources.phases import Phase

_FULL = {
    "ConcurrencyLimit": "concurrency-limit",
    "Suspended": "job-type-suspended",
    "JobTypeHeld": "job-type-held",
    "JobRefused": "job-type-held",
    "QueueFull": "queue-full",
}
_MISSING = frozenset(
    {"JobTypeNotFound", "PromptNotFound"}
)  # kubectl waits a minute for these, a caller of REST does not

_FIELDS = {
    "PromptVersionNotAllowed": "/prompt_version",
    "PromptNotFound": "/prompt_version",
    "ModelNotAllowed": "/model",
    "EffortNotAllowed": "/effort",
    "WorkspaceNotAllowed": "/workspace",
    "InputsTooLarge": "/inputs",
    "InvalidInputs": "/inputs",
}


class Verdict(Enum):
    NONE = "none"
    ACCEPTED = "accepted"
    REFUSED = "refused"


def verdict(run: CodexRun) -> Verdict:
    status = run.status
    if status.phase is Phase.REJECTED:
        return Verdict.REFUSED
    if status.phase is Phase.PENDING:
        return Verdict.REFUSED if status.reason in _MISSING else Verdict.NONE
    return Verdict.ACCEPTED


def decided(run: CodexRun) -> bool:
    return verdict(run) is not Verdict.NONE


def refusal(run: CodexRun, retry_after: int) -> Problem:
    """A refused run as the answer to its start: full is 429, an unknown job type 404, all else the
    caller's to correct."""
    reason, message = (
        run.status.reason or "Rejected",
        run.status.message or "the operator rejected it",
    )
    if code := _FULL.get(reason):
        return Problem(429, code, message, retry_after=retry_after)
    if reason == "JobTypeNotFound":
        return no_job_type(run.spec.job_type)
    errors = pointed(message)
    if not errors and (pointer := _FIELDS.get(reason)):
        errors = [FieldError(pointer=pointer, detail=message)]
    return Problem(422, _kebab(reason), message, errors=errors)


def no_job_type(name: str) -> Problem:
    detail = f'there is no job type "{name}"; GET /jobtypes lists them'
    return Problem(
        404, "job-type-not-found", detail, errors=[FieldError(pointer="/job_type", detail=detail)]
    )


def _kebab(reason: str) -> str:
    return "".join(
        f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(reason)
    )

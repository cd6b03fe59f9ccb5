"""May a run resume: go on with the Codex thread of an earlier one? Pure.

A rollout replaces the run's own prompt, and the agent that wrote it is not trusted. It is taken
only by a run that was admitted with the same job type, prompt, model and workspace as the run that
left it: what a job type's owner has reviewed holds for resumed runs too.
"""

from dataclasses import dataclass

from codexrun_core.resources.codexrun import GitWorkspace
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.stored_spec import read_spec

ADVICE = "create the new run without spec.retryOf.resume"
UID_REQUIRED = (
    "spec.retryOf.uid: missing; a run with spec.retryOf.resume needs it, because names can be"
    " reused. Add the earlier run's metadata.uid, use `codexrun retry NAME --resume`, or"
    f" {ADVICE}"
)
UNKNOWN_SOURCE = (
    "spec.retryOf.uid: there is no record of a run with this UID (it was cleaned up, or never"
    " existed), so codexrun cannot check whether its Codex thread may be resumed; correct the UID,"
    f" or {ADVICE}"
)
NOTHING_STORED = (
    "spec.retryOf.resume: the Codex session file of the earlier run is not stored (the run ended"
    f" before the file could be uploaded, or was cleaned up); {ADVICE}"
)


@dataclass(frozen=True, kw_only=True)
class ThreadSetup:
    """What a Codex thread is begun with. prompt_sha256: of the prompt as stored, without the
    inputs; None of a run that was never admitted. git: None without a repository."""

    job_type: str
    prompt_sha256: str | None
    model: str | None
    git: GitWorkspace | None


def setup_of(record: RunRecord) -> ThreadSetup:
    """Return what a run's thread was begun with, from its row or its object."""
    return ThreadSetup(
        job_type=record.job_type,
        prompt_sha256=record.prompt_sha256,
        model=record.model,
        git=read_spec(record.spec).git,
    )


def resume_problem(run: ThreadSetup, source: ThreadSetup) -> str | None:
    """Return why a run may not go on with the thread of `source`; None if it may."""
    if source.prompt_sha256 is None:
        return f"spec.retryOf.resume: the earlier run never started and has no thread; {ADVICE}"
    differences = (
        ("job type", "job type", source.job_type, run.job_type),
        ("checksum of the prompt", "prompt", source.prompt_sha256, run.prompt_sha256),
        ("model", "model", source.model, run.model),
        ("workspace", "workspace", _workspace(source.git), _workspace(run.git)),
    )
    for name, part, earlier, own in differences:
        if earlier != own:
            return (
                f"spec.retryOf.resume: the {name} of the earlier run is {earlier}, but that of"
                f" this run is {own}; a thread can only be resumed with the same job type,"
                f" prompt, model and workspace. Use the earlier run's {part}, or {ADVICE}"
            )
    return None


def _workspace(git: GitWorkspace | None) -> str:
    if git is None:
        return "empty"
    return f"{git.url} at {git.ref or 'the default branch'}"

"""What does an exit code mean? One table: commands end by it, `codexrun help exit-codes` prints
it."""

from enum import IntEnum


class Code(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    UNREACHABLE = 7
    UNKNOWN = 8
    TIMEOUT = 124
    INTERRUPTED = 130


MEANING = {
    Code.DONE: "the command succeeded, and so did the run if the command waits for its end",
    Code.FAILED: "the run failed or was rejected, the command failed, or diff found changes",
    Code.USAGE: "invalid usage",
    Code.CANCELLED: "the run was cancelled",
    Code.NOT_ALLOWED: "not authenticated, or not allowed",
    Code.NOT_FOUND: "not found",
    Code.CONFLICT: "conflict, such as a run that has already ended, or a name that is taken",
    Code.UNREACHABLE: "the server or cluster cannot be reached, or the command needs the REST API",
    Code.UNKNOWN: "how the run ended is unknown, for example because it was deleted",
    Code.TIMEOUT: "--timeout has passed, and the run has not ended",
    Code.INTERRUPTED: "interrupted with Ctrl-C, which does not stop the run",
}

ENDS = {
    "succeeded": Code.DONE,
    "failed": Code.FAILED,
    "rejected": Code.FAILED,
    "cancelled": Code.CANCELLED,
    "deleted": Code.UNKNOWN,
}


def of_run(status: str) -> Code:
    """Return what a command that waited for the run ends with."""
    return ENDS.get(status, Code.UNKNOWN)


def worst(codes: list[Code]) -> Code:
    """Return the first code that is not a success."""
    return next((code for code in codes if code is not Code.DONE), Code.DONE)

"""What can go wrong between codexrun and what it depends on.

Two kinds of failure: `Refused` (tell the user) and `Unavailable` (try again, assume nothing about
what happened).
"""

from codexrun_core.refusals import Cause, cause_of


class Unavailable(Exception):
    """Try again later; nothing is known about what happened."""


class EtcdRestored(Exception):
    """The cluster is older than it was known to be: its etcd was restored from a backup. Whatever a
    process knows of it may be wrong, and only a new process begins with nothing."""


class Refused(Exception):
    """The apiserver said no: nothing was done. The message is its own, for people; `cause` says
    whose fault it is."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def cause(self) -> Cause:
        """Return whose fault the refusal is, from its status code and message."""
        return cause_of(self.status, self.message)


class NotFound(Refused):
    """The object to be changed is not there."""


class Conflict(Refused):
    """The object is another one than the caller expected, or exists already (AlreadyExists)."""


class Gone(Refused):
    """The watch's position is too old: list again."""

"""Which runs does a list show, and where does its next page begin? Pure.

One filter serves lists, counts and bulk actions.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from codexrun_core.registry.record import RunRecord

PAGE_SIZE, LARGEST_PAGE = 50, 500
_LONGEST_TOKEN = 1024


class BadToken(ValueError):
    """The page token is none of ours, or belongs to a list with another filter."""


@dataclass(frozen=True)
class Filter:
    """What a run must match; within one field any of its values will do, and an empty field matches all."""

    job_type: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()  # name, or name@version
    model: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    since: datetime | None = None  # created at or after
    until: datetime | None = None  # created before
    search: str = ""  # every word must begin a word of name, error or final message
    retry_of: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for filters that select the same runs, whatever the order of their values.

        Times are left out: `7d` is another moment with every page that is asked for.
        """
        canonical = {
            name: sorted(set(value)) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value and name not in ("since", "until")
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Page:
    runs: tuple[RunRecord, ...]
    next_token: str | None  # None: this is the last page


def token_after(run: RunRecord, chosen: Filter) -> str:
    """The token of the page that begins after `run`, in a list of this filter."""
    text = json.dumps([run.created_at.astimezone(UTC).isoformat(), run.run_id, chosen.fingerprint], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, chosen: Filter) -> tuple[datetime, str]:
    """Where the page begins.

    Raises:
        BadToken: not a token of ours, or of a list with another filter.
    """
    try:
        if len(token) > _LONGEST_TOKEN:
            raise ValueError(token)
        text = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        stamp, run_id, fingerprint = json.loads(text)
        created = datetime.fromisoformat(stamp)
        if created.tzinfo is None or not isinstance(run_id, str):
            raise ValueError(token)
        created = created.astimezone(UTC)
    except (ValueError, TypeError, RecursionError, OverflowError, binascii.Error) as error:
        raise BadToken("page_token: not a token of this list; leave it out to start from the first page") from error
    if fingerprint != chosen.fingerprint:
        raise BadToken("page_token: belongs to a list with other filters; keep them, or leave it out to start anew")
    return created, run_id

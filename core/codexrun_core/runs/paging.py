"""Pages of a list of runs, and the token by which the next one begins. Pure."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import MAX_COUNT, RunRecord
from codexrun_core.runs.sorting import NEVER_NULL, NEWEST, Sort

PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
_MAX_TOKEN_CHARACTERS = 1024


class InvalidPageToken(ValueError):
    """The page token was not issued by this server, or belongs to a list with another filter."""


@dataclass(frozen=True)
class Page:
    runs: tuple[RunRecord, ...]
    next_token: str | None  # None: this is the last page


@dataclass(frozen=True)
class Cursor:
    """Where a page ended."""

    created_at: datetime
    run_id: str
    # of what the list is sorted by, unless that is its creation; None: not known
    value: datetime | int | None = None


def cursor_of(run: RunRecord, sort: Sort) -> Cursor:
    return Cursor(
        run.created_at.astimezone(UTC),
        run.run_id,
        None if sort.key == "created" else sort.value(run),
    )


def token_after(run: RunRecord, run_filter: Filter, sort: Sort = NEWEST) -> str:
    """Return the token of the page that begins after `run`, in a list of this filter in this
    order."""
    cursor = cursor_of(run, sort)
    parts: list[object] = [
        cursor.created_at.isoformat(),
        cursor.run_id,
        _fingerprint(run_filter, sort),
    ]
    if sort.key != "created":
        parts.append(
            cursor.value.astimezone(UTC).isoformat()
            if isinstance(cursor.value, datetime)
            else cursor.value
        )
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_token(token: str, run_filter: Filter, sort: Sort = NEWEST) -> Cursor:
    """Return where the page begins.

    Raises:
        InvalidPageToken: not a token of this server, or of a list with another filter or order.
    """
    try:
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise ValueError(token)
        text = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
        stamp, run_id, fingerprint, *more = json.loads(text)
        created = _moment(stamp)
        if not isinstance(run_id, str) or not isinstance(fingerprint, str) or len(more) > 1:
            raise ValueError(token)
    except (ValueError, TypeError, RecursionError, OverflowError, binascii.Error) as error:
        raise _invalid_token() from error
    if fingerprint != _fingerprint(run_filter, sort):
        raise InvalidPageToken(
            "page_token: this token belongs to a list with other filters or another order; use"
            " the same filters and order again, or leave the token out to start from the first"
            " page"
        )
    if len(more) != (sort.key != "created"):
        raise _invalid_token()
    try:
        return Cursor(created, run_id, _cursor_value(sort, more[0]) if more else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise _invalid_token() from error


def _fingerprint(run_filter: Filter, sort: Sort) -> str:
    return run_filter.fingerprint if sort == NEWEST else f"{run_filter.fingerprint}{sort}"


def _cursor_value(sort: Sort, value: object) -> datetime | int | None:
    if value is None and sort.key not in NEVER_NULL:
        return None
    if sort.key in ("started", "finished"):
        return _moment(value)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError(value)
    return value


def _moment(value: object) -> datetime:
    if not isinstance(value, str) or (moment := datetime.fromisoformat(value)).tzinfo is None:
        raise ValueError(value)
    return moment.astimezone(UTC)


def _invalid_token() -> InvalidPageToken:
    return InvalidPageToken(
        "page_token: not a valid page token; leave it out to start from the first page"
    )

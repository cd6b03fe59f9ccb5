"""The wall clock, as Kubernetes writes it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time in UTC, cut to the second."""
    return datetime.now(UTC).replace(microsecond=0)

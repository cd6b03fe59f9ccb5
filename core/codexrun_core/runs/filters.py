"""The filter of a list of runs: one for lists, counts and bulk actions. Pure."""

import hashlib
import json
from dataclasses import dataclass, fields
from datetime import datetime

from codexrun_core.runs.label_rules import Requirement


@dataclass(frozen=True)
class Filter:
    """What a run must match; within one field any of its values will do, and an empty field matches
    all."""

    job_type: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()  # name, or name@version
    model: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    since: datetime | None = None  # created at or after
    until: datetime | None = None  # created before
    search: str = ""  # every word must begin a word of name, error or final message
    retry_of: tuple[str, ...] = ()
    labels: tuple[Requirement, ...] = ()  # all of these
    failure_class: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return a digest that is the same for filters that select the same runs, whatever the
        order of their values.

        Times are left out: `7d` is another moment with every page that is asked for.
        """
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("since", "until")
        }
        canonical = {
            name: sorted({str(item) for item in value}) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value
        }
        return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()[:16]

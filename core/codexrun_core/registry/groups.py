"""By what can sums be grouped? Each grouping as an expression of SQL, the same on both
databases."""

from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.tables import run_labels, runs

LABEL_PREFIX = "label:"
GROUPINGS = ("job_type", "model", "user", "status", "prompt", "failure_class", "day")
MAX_LABEL_KEY_CHARACTERS = 317  # prefix, slash and name


def check_grouping(text: str) -> str:
    """Return the grouping.

    Raises:
        ValueError: it is none.
    """
    key = text.removeprefix(LABEL_PREFIX)
    if text in GROUPINGS or (key != text and 0 < len(key) <= MAX_LABEL_KEY_CHARACTERS):
        return text
    raise ValueError(
        f'"{text}" is not a valid grouping; use {", ".join(GROUPINGS)} or {LABEL_PREFIX}KEY'
    )


def key_of(grouping: str, dialect: str) -> sa.ColumnElement[Any]:
    """Return the value that a run is grouped by; NULL for a run that has none."""
    c = runs.c
    if grouping.startswith(LABEL_PREFIX):
        return (
            sa.select(run_labels.c.value)
            .where(
                run_labels.c.seq == c.seq, run_labels.c.key == grouping.removeprefix(LABEL_PREFIX)
            )
            .scalar_subquery()
        )
    match grouping:
        case "user":
            return c.requested_by
        case "prompt":
            return c.prompt_name + "@" + c.prompt_version
        case "day":
            # SQLite keeps UTC; Postgres is asked for it, whatever zone its session has
            if dialect == "sqlite":
                return sa.func.strftime("%Y-%m-%d", c.created_at)
            return sa.func.to_char(sa.func.timezone("UTC", c.created_at), "YYYY-MM-DD")
        case _:
            return c[grouping]

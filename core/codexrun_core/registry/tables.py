"""The tables, as the newest migration leaves them (`alembic check` holds the two against each
other).

Large databases are the reason for the indexes: one per filter in the list's order, and one that
covers all filters, so that any combination and any count reads an index and no row.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData()


class Utc(sa.TypeDecorator[datetime]):
    """Aware in Python on both databases; SQLite keeps UTC without saying so."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Dialect,  # noqa: ARG002 - an override
    ) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(sa.TypeDecorator[str]):
    """Text that every database takes: Postgres knows no NUL, and no encoding knows a lone
    surrogate."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(
        self,
        value: str | None,
        dialect: Dialect,  # noqa: ARG002 - an override
    ) -> str | None:
        if value is None:
            return None
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


BIG_INTEGER = sa.BigInteger()
# SQLite numbers rows itself in an INTEGER PRIMARY KEY only
ROW_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _column(name: str, kind: Any, *, null: bool = True) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


runs = sa.Table(
    "runs",
    metadata,
    sa.Column(
        "seq", ROW_KEY, primary_key=True, autoincrement=True
    ),  # what the word index points to
    _column("run_id", SafeText, null=False),
    _column("name", SafeText, null=False),
    _column("namespace", SafeText, null=False),
    _column("job_type", SafeText, null=False),
    _column("status", SafeText, null=False),
    _column("reason", SafeText),
    _column("created_at", Utc, null=False),
    _column("updated_at", Utc, null=False),
    _column("started_at", Utc),
    _column("finished_at", Utc),
    _column("lasted_ms", BIG_INTEGER),  # to sort by; RunRecord.lasted_ms
    _column("deleted_at", Utc),
    _column("attempt", sa.Integer, null=False),
    _column("rank", sa.Integer, null=False),
    _column("resource_version", BIG_INTEGER, null=False),
    _column("prompt_name", SafeText),
    _column("prompt_version", SafeText),
    _column("prompt_sha256", SafeText),
    _column("model", SafeText),
    _column("effort", SafeText),
    _column("priority", sa.Integer, null=False),
    _column("requested_by", SafeText),
    _column("origin", SafeText, null=False),
    _column("retry_of", SafeText),
    _column("retry_of_name", SafeText),
    _column("failure_class", SafeText),
    _column("retryable", sa.Boolean, null=False),
    _column("cost_tokens", BIG_INTEGER, null=False),
    _column("cost_cents", BIG_INTEGER, null=False),
    _column("cost_micro_usd", BIG_INTEGER),
    _column("input_tokens", BIG_INTEGER, null=False),
    _column("cached_input_tokens", BIG_INTEGER, null=False),
    _column("output_tokens", BIG_INTEGER, null=False),
    _column("reasoning_tokens", BIG_INTEGER, null=False),
    _column("at_most_tokens", BIG_INTEGER),
    _column("requests", BIG_INTEGER, null=False),
    _column("usage_complete", sa.Boolean, null=False),
    _column("waiting_until", Utc),
    _column("turns", sa.Integer),
    _column("thread_id", SafeText),
    _column("commit_id", SafeText),
    sa.Column("warnings", sa.JSON, nullable=False, server_default="[]"),
    _column("log_path", SafeText),
    _column("log_bytes", BIG_INTEGER, null=False),
    _column("log_complete", sa.Boolean),
    _column("log_note", SafeText),
    _column("params", sa.JSON, null=False),
    _column("result", SafeText),
    _column("result_truncated", sa.Boolean),
    _column("output", sa.JSON(none_as_null=True)),
    _column("error", SafeText),
    _column("spec", sa.JSON, null=False),
    sa.Column("labels", sa.JSON, nullable=False, server_default="{}"),
    _column("words", SafeText, null=False),  # what a search finds
    sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
    sa.Index("ix_runs_name", "namespace", "name", "created_at"),
    # The list's order with every filter beside it: any page and any count is answered from this
    # index alone.
    sa.Index(
        "ix_runs_list",
        "created_at",
        "run_id",
        "status",
        "job_type",
        "prompt_name",
        "prompt_version",
        "model",
        "requested_by",
        "retry_of",
        "cost_tokens",
        "cost_micro_usd",
        "started_at",
        "finished_at",
        "lasted_ms",
    ),
    sa.Index("ix_runs_job_type", "job_type", "created_at", "run_id", "status"),
    sa.Index("ix_runs_status", "status", "created_at", "run_id", "job_type"),
    sa.Index("ix_runs_prompt", "prompt_name", "prompt_version", "created_at", "run_id", "status"),
    sa.Index("ix_runs_model", "model", "created_at", "run_id", "status"),
    sa.Index("ix_runs_requested_by", "requested_by", "created_at", "run_id", "status"),
    sa.Index("ix_runs_retry_of", "retry_of"),
    # One per order of a list without a filter; sorting all that there is took as long as counting
    # it.
    sa.Index("ix_runs_started_at", "started_at", "created_at", "run_id"),
    sa.Index("ix_runs_finished_at", "finished_at", "created_at", "run_id"),
    sa.Index("ix_runs_lasted_ms", "lasted_ms", "created_at", "run_id"),
    sa.Index("ix_runs_cost_tokens", "cost_tokens", "created_at", "run_id"),
    sa.Index("ix_runs_cost_micro_usd", "cost_micro_usd", "created_at", "run_id"),
    # Sums by prompt version, from the index alone.
    sa.Index(
        "ix_runs_prompt_stats",
        "prompt_name",
        "prompt_version",
        "status",
        "cost_tokens",
        "cost_micro_usd",
        "created_at",
    ),
    # Rows whose objects are in the cluster, as far as is known: few among all.
    sa.Index(
        "ix_runs_present",
        "namespace",
        "seq",
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    ),
)

run_events = sa.Table(
    "run_events",
    metadata,
    sa.Column("seq", ROW_KEY, primary_key=True, autoincrement=True),
    _column("event_id", SafeText, null=False),
    _column("run_id", SafeText, null=False),
    _column("attempt", sa.Integer, null=False),
    _column("status", SafeText, null=False),
    _column("reason", SafeText),
    _column("at", Utc, null=False),
    # true until what follows the transition has been done
    sa.Column("pending", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("event_id", name="uq_run_events_event_id"),
    sa.Index("ix_run_events_run_id", "run_id", "seq"),
    sa.Index(
        "ix_run_events_pending",
        "seq",
        sqlite_where=sa.text("pending = 1"),
        postgresql_where=sa.text("pending"),
    ),
)

# Runs whose rows retention has removed while their objects were in the cluster: those get no row
# again. An entry goes with the object.
removed_runs = sa.Table(
    "removed_runs",
    metadata,
    sa.Column("run_id", SafeText, primary_key=True),
    _column("namespace", SafeText, null=False),
)

# runs.labels one by one, kept by triggers, with what lists and counts of one label's runs need.
run_labels = sa.Table(
    "run_labels",
    metadata,
    sa.Column("seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    sa.Column("key", SafeText, primary_key=True),
    _column("value", SafeText, null=False),
    _column("run_id", SafeText, null=False),
    _column("created_at", Utc, null=False),
    _column("status", SafeText, null=False),
    _column("job_type", SafeText, null=False),
    sa.Index("ix_run_labels", "key", "value", "created_at", "run_id", "status", "job_type", "seq"),
    sqlite_with_rowid=False,
)

# The word index, kept by triggers. SQLite: an FTS5 table over runs.words; Postgres: a narrow table
# with what lists and counts of hits need, for a run's own row is wide.
run_words = sa.table(
    "run_words",
    sa.column("rowid"),
    sa.column("run_words"),
    sa.column("seq", BIG_INTEGER),
    sa.column("run_id", SafeText),
    sa.column("created_at", Utc),
    sa.column("status", SafeText),
    sa.column("job_type", SafeText),
    sa.column("words"),
)

"""Runs, their moves, and the words that a search finds."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_WORDS = (
    """CREATE VIRTUAL TABLE run_words USING fts5(
        words, content='runs', content_rowid='seq', tokenize='ascii', detail=none, columnsize=0, \
prefix='2 3 4 5 6')""",
    """CREATE TRIGGER runs_words_added AFTER INSERT ON runs BEGIN
        INSERT INTO run_words(rowid, words) VALUES (new.seq, new.words); END""",
    """CREATE TRIGGER runs_words_changed AFTER UPDATE OF words ON runs WHEN old.words <> new.words \
BEGIN
        INSERT INTO run_words(run_words, rowid, words) VALUES ('delete', old.seq, old.words);
        INSERT INTO run_words(rowid, words) VALUES (new.seq, new.words); END""",
    """CREATE TRIGGER runs_words_removed AFTER DELETE ON runs BEGIN
        INSERT INTO run_words(run_words, rowid, words) VALUES ('delete', old.seq, old.words); \
END""",
)
POSTGRES_WORDS = (
    # A function for its cost: the planner takes a built-in one for free, and would compute it for
    # every row of the list rather than ask the index.
    """CREATE FUNCTION run_words(words text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE STRICT \
PARALLEL SAFE COST 100
        AS 'BEGIN RETURN array_to_tsvector(string_to_array(words, '' '')); END'""",
    "CREATE INDEX ix_runs_words ON runs USING gin (run_words(words))",
    # Counts read indexes alone, which needs pages that are known to be visible to all, and fresh
    # statistics.
    """ALTER TABLE runs SET (autovacuum_vacuum_scale_factor = 0.02, \
autovacuum_vacuum_insert_scale_factor = 0.02,
        autovacuum_analyze_scale_factor = 0.02)""",
)


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("seq", KEY, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("resource_version", sa.BigInteger(), nullable=False),
        sa.Column("prompt_name", sa.Text(), nullable=True),
        sa.Column("prompt_version", sa.Text(), nullable=True),
        sa.Column("prompt_sha256", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("effort", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("retry_of", sa.Text(), nullable=True),
        sa.Column("retry_of_name", sa.Text(), nullable=True),
        sa.Column("failure_class", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("cost_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost_cents", sa.BigInteger(), nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("usage_complete", sa.Boolean(), nullable=False),
        sa.Column("turns", sa.Integer(), nullable=True),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("log_path", sa.Text(), nullable=True),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False),
        sa.Column("log_complete", sa.Boolean(), nullable=True),
        sa.Column("log_note", sa.Text(), nullable=True),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
    )
    op.create_index("ix_runs_job_type", "runs", ["job_type", "created_at", "run_id", "status"])
    op.create_index(
        "ix_runs_list",
        "runs",
        [
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
        ],
    )
    op.create_index("ix_runs_model", "runs", ["model", "created_at", "run_id", "status"])
    op.create_index("ix_runs_name", "runs", ["namespace", "name", "created_at"])
    op.create_index(
        "ix_runs_prompt",
        "runs",
        ["prompt_name", "prompt_version", "created_at", "run_id", "status"],
    )
    op.create_index(
        "ix_runs_prompt_stats",
        "runs",
        ["prompt_name", "prompt_version", "status", "cost_tokens", "cost_micro_usd", "created_at"],
    )
    op.create_index(
        "ix_runs_requested_by", "runs", ["requested_by", "created_at", "run_id", "status"]
    )
    op.create_index("ix_runs_retry_of", "runs", ["retry_of"])
    op.create_index("ix_runs_status", "runs", ["status", "created_at", "run_id", "job_type"])
    op.create_table(
        "run_events",
        sa.Column("seq", KEY, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("event_id", name="uq_run_events_event_id"),
    )
    op.create_index("ix_run_events_run_id", "run_events", ["run_id", "seq"])
    for statement in SQLITE_WORDS if op.get_context().dialect.name == "sqlite" else POSTGRES_WORDS:
        op.execute(statement)


def downgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE run_words")
    op.drop_table("run_events")
    op.drop_table("runs")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION run_words(text)")

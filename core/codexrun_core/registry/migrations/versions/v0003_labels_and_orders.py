"""Labels of runs, with an index of their own that triggers keep, and what a list may be sorted by.

Rows that are there have no labels yet: the mirror's next list fills those whose objects still are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LIST = [
    "created_at",
    "run_id",
    "status",
    "job_type",
    "prompt_name",
    "prompt_version",
    "model",
    "requested_by",
    "retry_of",
]
LIST += ["cost_tokens", "cost_micro_usd"]
SORTED = ("started_at", "finished_at", "lasted_ms", "cost_tokens", "cost_micro_usd")

# The same whole milliseconds as RunRecord.lasted_ms: where a page ends is told by that. SQLite's
# own times round.
SQLITE_LASTED = """UPDATE runs SET lasted_ms = max(0, (
    (strftime('%s', substr(finished_at, 1, 19)) - strftime('%s', substr(started_at, 1, 19))) * \
1000000
    + CAST(substr(finished_at, 21, 6) AS INTEGER) - CAST(substr(started_at, 21, 6) AS INTEGER)) / \
1000)
    WHERE started_at IS NOT NULL AND finished_at IS NOT NULL"""
POSTGRES_LASTED = """UPDATE runs SET lasted_ms = greatest(0, floor(extract(epoch FROM finished_at \
- started_at) * 1000))::bigint
    WHERE started_at IS NOT NULL AND finished_at IS NOT NULL"""

SQLITE_EACH = """INSERT INTO run_labels (seq, key, value, run_id, created_at, status, job_type)
    SELECT new.seq, key, value, new.run_id, new.created_at, new.status, new.job_type FROM \
json_each(new.labels);"""
SQLITE_NONE = "DELETE FROM run_labels WHERE seq = old.seq;"
CHANGED = (
    "(old.created_at, old.status, old.job_type{more}) <> (new.created_at, new.status,"
    " new.job_type{new})"
)
SQLITE = (
    (
        "CREATE TRIGGER runs_labels_added AFTER INSERT ON runs WHEN new.labels <> '{}' BEGIN"
        f" {SQLITE_EACH} END"
    ),
    f"""CREATE TRIGGER runs_labels_changed AFTER UPDATE OF labels, created_at, status, job_type ON \
runs
        WHEN {CHANGED.format(more=", old.labels", new=", new.labels")} AND (old.labels <> '{{}}' \
OR new.labels <> '{{}}')
        BEGIN {SQLITE_NONE} {SQLITE_EACH} END""",
    (
        "CREATE TRIGGER runs_labels_removed AFTER DELETE ON runs WHEN old.labels <> '{}' BEGIN"
        f" {SQLITE_NONE} END"
    ),
)
POSTGRES = (
    """ALTER TABLE run_labels SET (autovacuum_vacuum_scale_factor = 0.02, \
autovacuum_vacuum_insert_scale_factor = 0.02,
        autovacuum_analyze_scale_factor = 0.02)""",
    """CREATE FUNCTION keep_run_labels() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        IF TG_OP <> 'INSERT' THEN DELETE FROM run_labels WHERE seq = OLD.seq; END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO run_labels (seq, key, value, run_id, created_at, status, job_type)
                SELECT NEW.seq, l.key, l.value, NEW.run_id, NEW.created_at, NEW.status, NEW.job_type
                FROM json_each_text(NEW.labels) AS l;
        END IF;
        RETURN NULL; END$$""",
    """CREATE TRIGGER runs_labels_added AFTER INSERT ON runs FOR EACH ROW WHEN (new.labels::text \
<> '{}')
        EXECUTE FUNCTION keep_run_labels()""",
    f"""CREATE TRIGGER runs_labels_changed AFTER UPDATE ON runs FOR EACH ROW
        WHEN ({CHANGED.format(more=", old.labels::text", new=", new.labels::text")}
            AND (old.labels::text <> '{{}}' OR new.labels::text <> '{{}}'))
        EXECUTE FUNCTION keep_run_labels()""",
    """CREATE TRIGGER runs_labels_removed AFTER DELETE ON runs FOR EACH ROW WHEN (old.labels::text \
<> '{}')
        EXECUTE FUNCTION keep_run_labels()""",
)
TRIGGERS = ("runs_labels_added", "runs_labels_changed", "runs_labels_removed")


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    op.add_column("runs", sa.Column("labels", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("runs", sa.Column("lasted_ms", sa.BigInteger(), nullable=True))
    op.execute(SQLITE_LASTED if sqlite else POSTGRES_LASTED)
    op.drop_index("ix_runs_list", "runs")
    op.create_index("ix_runs_list", "runs", [*LIST, "started_at", "finished_at", "lasted_ms"])
    for column in SORTED:
        op.create_index(f"ix_runs_{column}", "runs", [column, "created_at", "run_id"])
    op.create_table(
        "run_labels",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("job_type", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )
    of_a_label = ["key", "value", "created_at", "run_id", "status", "job_type", "seq"]
    op.create_index("ix_run_labels", "run_labels", of_a_label)
    for statement in SQLITE if sqlite else POSTGRES:
        op.execute(statement)


def downgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    for trigger in TRIGGERS:
        op.execute(f"DROP TRIGGER {trigger}" + ("" if sqlite else " ON runs"))
    if not sqlite:
        op.execute("DROP FUNCTION keep_run_labels()")
    op.drop_table("run_labels")
    for column in SORTED:
        op.drop_index(f"ix_runs_{column}", "runs")
    op.drop_index("ix_runs_list", "runs")
    op.create_index("ix_runs_list", "runs", LIST)
    for column in ("lasted_ms", "labels"):
        op.execute(f"ALTER TABLE runs DROP COLUMN {column}")

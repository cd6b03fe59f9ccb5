"""Which transitions have not been told on yet, which rows' objects are in the cluster, and which
runs were removed while theirs still were.

Transitions that are there count as told: the version that wrote them has done that.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# SQLite uses a partial index only where a query has the very same words.
PENDING_SQLITE = sa.text("pending = 1")
PENDING_POSTGRES = sa.text("pending")
PRESENT = sa.text("deleted_at IS NULL")


def upgrade() -> None:
    op.add_column(
        "run_events",
        sa.Column("pending", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index(
        "ix_run_events_pending",
        "run_events",
        ["seq"],
        sqlite_where=PENDING_SQLITE,
        postgresql_where=PENDING_POSTGRES,
    )
    op.create_index(
        "ix_runs_present",
        "runs",
        ["namespace", "seq"],
        sqlite_where=PRESENT,
        postgresql_where=PRESENT,
    )
    op.create_table(
        "removed_runs",
        sa.Column("run_id", sa.Text(), primary_key=True),
        sa.Column("namespace", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("removed_runs")
    op.drop_index("ix_runs_present", "runs")
    op.drop_index("ix_run_events_pending", "run_events")
    op.execute("ALTER TABLE run_events DROP COLUMN pending")

"""The commit that a run worked on, and what it warns of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("commit_id", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("warnings", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP COLUMN warnings")
    op.execute("ALTER TABLE runs DROP COLUMN commit_id")

"""The final message as JSON, and whether `result` has all of it. Both are absent where that is not
known, as of rows that an earlier version wrote.

`result` stays text: the version before reads and writes it, and a search reads its words. A column
without a default rewrites no row, on either database.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("output", sa.JSON(), nullable=True))
    op.add_column("runs", sa.Column("result_truncated", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP COLUMN result_truncated")
    op.execute("ALTER TABLE runs DROP COLUMN output")

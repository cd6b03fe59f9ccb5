"""What a run would have used if every estimate were at its bound; absent where all is exact."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("at_most_tokens", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP COLUMN at_most_tokens")

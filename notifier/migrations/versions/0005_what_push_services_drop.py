"""Which alerts' 410s are doubtful, and how many messages push services took and threw away."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "service_answers",
        sa.Column("dropped", sa.Integer(), nullable=False, server_default="0"),
    )
    op.add_column(
        "service_answers", sa.Column("doubtful_at", sa.DateTime(timezone=True), nullable=True)
    )


def downgrade() -> None:
    op.drop_column("service_answers", "doubtful_at")
    op.drop_column("service_answers", "dropped")

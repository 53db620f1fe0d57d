"""Which programs are alive, and why an alert cannot be planned."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Adding a column that is nullable or has a default needs no copy of the table.
    op.add_column(
        "alerts", sa.Column("plan_failures", sa.SmallInteger(), nullable=False, server_default="0")
    )
    op.add_column("alerts", sa.Column("plan_not_before", MOMENT, nullable=True))
    op.add_column("alerts", sa.Column("plan_error", sa.String(length=200), nullable=True))
    op.create_table(
        "heartbeats",
        sa.Column("program", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("program", "host", name="pk_heartbeats"),
    )


def downgrade() -> None:
    op.drop_table("heartbeats")
    for column in ("plan_error", "plan_not_before", "plan_failures"):
        op.drop_column("alerts", column)

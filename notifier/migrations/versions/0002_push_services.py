"""Breakers, answers by push service, and doubtful 410s."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # Adding a nullable column needs no copy of the table, on SQLite neither.
    op.add_column("subscriptions", sa.Column("rejected_at", MOMENT, nullable=True))
    op.create_table(
        "open_breakers",
        sa.Column("push_service", sa.String(length=255), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("probe_at", MOMENT, nullable=False),
        sa.Column("openings", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("push_service", name="pk_open_breakers"),
    )
    op.create_table(
        "service_answers",
        sa.Column("alert_id", ROW_ID, nullable=False),
        sa.Column("push_service", sa.String(length=255), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_service_answers_alert_id_alerts"
        ),
        sa.PrimaryKeyConstraint("alert_id", "push_service", name="pk_service_answers"),
    )
    op.create_table(
        "doubtful_gone",
        sa.Column("subscription_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("endpoint_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("push_service", sa.String(length=255), nullable=False),
        sa.Column("alert_id", ROW_ID, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_doubtful_gone_alert_id_alerts"
        ),
        sa.PrimaryKeyConstraint("subscription_id", "endpoint_hash", name="pk_doubtful_gone"),
    )
    op.create_index("ix_doubtful_gone_push_service", "doubtful_gone", ["push_service"])


def downgrade() -> None:
    for table in ("doubtful_gone", "service_answers", "open_breakers"):
        op.drop_table(table)
    op.drop_column("subscriptions", "rejected_at")

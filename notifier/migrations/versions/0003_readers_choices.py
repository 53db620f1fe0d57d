"""Levels, pauses, mutes, welcomes, reactions; and who may have received an alert."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from notifier.models.base import DescendingIds

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)

_BATCHES_AT_ONCE = 1_000  # a publication's whole past need not fit into memory


def upgrade() -> None:
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    op.create_index(
        "ix_subscriptions_owed",
        "subscriptions",
        ["owed"],
        sqlite_where=sa.text("owed IS NOT NULL"),
        postgresql_where=sa.text("owed IS NOT NULL"),
    )
    op.create_table(
        "muted_stories",
        sa.Column("subscription_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("story_id", ROW_ID, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name="fk_muted_stories_subscription_id_subscriptions",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["story_id"],
            ["stories.id"],
            name="fk_muted_stories_story_id_stories",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("subscription_id", "story_id", name="pk_muted_stories"),
    )
    op.create_table(
        "reaction_counts",
        sa.Column("alert_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("reaction", sa.String(length=16), nullable=False),
        sa.Column("browser", sa.String(length=16), nullable=False),
        sa.Column("reports", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.id"],
            name="fk_reaction_counts_alert_id_alerts",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("alert_id", "reaction", "browser", name="pk_reaction_counts"),
    )
    _fill_lowest_ids()
    op.create_index("ix_batches_alert_id_lowest_id", "batches", ["alert_id", "lowest_id"])


def downgrade() -> None:
    op.drop_table("reaction_counts")
    op.drop_table("muted_stories")
    op.drop_index("ix_batches_alert_id_lowest_id", "batches")
    op.drop_index("ix_subscriptions_owed", "subscriptions")
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)


def _columns() -> dict[str, tuple[sa.Column[Any], ...]]:
    """The new columns of old tables.

    Adding one that is nullable or has a default needs no copy of the table, on SQLite neither.
    """
    # To SQLite '' is a text, whatever the column's type.
    no_bytes = sa.text("x''" if op.get_bind().dialect.name == "sqlite" else "''")
    return {
        "subscriptions": (
            sa.Column("level", sa.SmallInteger(), nullable=False, server_default="2"),
            sa.Column("paused_until", MOMENT, nullable=True),
            sa.Column("hold_until", MOMENT, nullable=True),
            sa.Column("owed", sa.String(length=16), nullable=True),
        ),
        "alerts": (
            sa.Column("level", sa.SmallInteger(), nullable=False, server_default="2"),
            sa.Column("count_rate", sa.Float(), nullable=True),
        ),
        "articles": (sa.Column("major", sa.Boolean(), nullable=False, server_default=sa.false()),),
        "batches": (
            sa.Column("lowest_id", ROW_ID, nullable=False, server_default="0"),
            sa.Column("uncertain_bits", sa.LargeBinary(), nullable=False, server_default=no_bytes),
            sa.Column("interrupted", sa.Boolean(), nullable=False, server_default=sa.false()),
        ),
    }


def _fill_lowest_ids() -> None:
    members = sa.table(
        "batch_members",
        sa.column("batch_id", ROW_ID),
        sa.column("subscription_ids", DescendingIds()),
    )
    batches = sa.table("batches", sa.column("id", ROW_ID), sa.column("lowest_id", ROW_ID))
    one = sa.update(batches).where(batches.c.id == sa.bindparam("batch"))
    fill = one.values(lowest_id=sa.bindparam("lowest"))
    page = sa.select(members.c.batch_id, members.c.subscription_ids).order_by(members.c.batch_id)
    connection, last = op.get_bind(), 0
    while rows := connection.execute(
        page.where(members.c.batch_id > last).limit(_BATCHES_AT_ONCE)
    ).all():
        connection.execute(fill, [{"batch": batch, "lowest": ids[-1]} for batch, ids in rows])
        last = rows[-1].batch_id

"""Tables of the ledger: batches and the subscriptions that are frozen in them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, CheckConstraint, ForeignKey, Index, Integer, String, or_
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import NOW, Base, Bitset, DescendingIds, UtcDateTime
from notifier.models.subscription import RowId

COUNTS = ("accepted", "gone", "rejected", "expired", "left", "stopped", "superseded", "failed")
"""What can have become of a subscription; with `waiting`, these always add up to the audience."""

_QUOTED = [f'"{name}"' for name in COUNTS]  # "left" is a word of SQL


class Batch(Base):
    """Up to 2,000 subscriptions of one alert: what is claimed, checkpointed and resumed.

    Bit i of `settled_bits` and `accepted_bits` is the i-th id of the batch; `lowest_id` is its
    last. `uncertain_bits` are those who may have got the message though nobody saw it accepted:
    it was written but not answered, or a worker died who may have sent it. `interrupted` says
    that of everybody unsettled: a worker died with the batch, and the alert has ended since.
    `holds` says for each push service that failed when (seconds since the epoch) to ask it again.
    `seconds_to_accept` is a histogram, see `notifier.latency`.
    """

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(f"size = waiting + {' + '.join(_QUOTED)}", name="sum_holds"),
        CheckConstraint(
            " AND ".join(f"{name} >= 0" for name in ("waiting", *_QUOTED)), name="counts"
        ),
        CheckConstraint("is_open OR waiting = 0", name="closed_means_settled"),
        Index("ix_batches_alert_id_is_open", "alert_id", "is_open"),
        Index("ix_batches_alert_id_lowest_id", "alert_id", "lowest_id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"))
    size: Mapped[int] = mapped_column(Integer)
    lowest_id: Mapped[int] = mapped_column(RowId)
    is_open: Mapped[bool] = mapped_column(Boolean, default=True)

    waiting: Mapped[int] = mapped_column(Integer)
    accepted: Mapped[int] = mapped_column(Integer, default=0)
    gone: Mapped[int] = mapped_column(Integer, default=0)
    rejected: Mapped[int] = mapped_column(Integer, default=0)
    expired: Mapped[int] = mapped_column(Integer, default=0)
    left: Mapped[int] = mapped_column(Integer, default=0)
    stopped: Mapped[int] = mapped_column(Integer, default=0)
    superseded: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[int] = mapped_column(Integer, default=0)

    settled_bits: Mapped[int] = mapped_column(Bitset, default=0)
    accepted_bits: Mapped[int] = mapped_column(Bitset, default=0)
    uncertain_bits: Mapped[int] = mapped_column(Bitset, default=0)
    interrupted: Mapped[bool] = mapped_column(Boolean, default=False)
    seconds_to_accept: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)

    claim_token: Mapped[str | None] = mapped_column(String(32))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    holds: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    rounds: Mapped[int] = mapped_column(Integer, default=0)
    waiting_at_claim: Mapped[int] = mapped_column(Integer, default=0)
    futile_claims: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str | None] = mapped_column(String(200))


IS_HELD = Batch.lease_until > NOW
"""The condition that a worker holds a batch."""

NOBODY_HOLDS = or_(Batch.lease_until.is_(None), Batch.lease_until <= NOW)


class BatchMembers(Base):
    """The subscriptions of a batch, in a row of their own that no checkpoint ever rewrites."""

    __tablename__ = "batch_members"

    batch_id: Mapped[int] = mapped_column(
        ForeignKey("batches.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    subscription_ids: Mapped[list[int]] = mapped_column(DescendingIds)

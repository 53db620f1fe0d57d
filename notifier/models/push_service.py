"""Tables of what is known about push services: breakers, answers to an alert, and doubtful 410s."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import Base, UtcDateTime
from notifier.models.subscription import RowId


class OpenBreaker(Base):
    """A push service that is left alone, until a probe at `probe_at` or later finds it well.

    `openings` counts the probes that failed, and the first opening.
    """

    __tablename__ = "open_breakers"

    push_service: Mapped[str] = mapped_column(String(255), primary_key=True)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    probe_at: Mapped[datetime] = mapped_column(UtcDateTime)
    openings: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(80))


class ServiceAnswers(Base):
    """How many answers one push service has given to an alert, and what kinds are watched.

    `gone` of them said that the subscription is no more; `dropped`, that the message was accepted
    and thrown away. Since `doubtful_at`, its Gone to this alert waits for ops.
    """

    __tablename__ = "service_answers"

    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"), primary_key=True)
    push_service: Mapped[str] = mapped_column(String(255), primary_key=True)
    answers: Mapped[int] = mapped_column(Integer)
    gone: Mapped[int] = mapped_column(Integer)
    dropped: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    doubtful_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class DoubtfulGone(Base):
    """A subscription that was answered Gone among so many that ops must decide.

    It stays active until then.
    """

    __tablename__ = "doubtful_gone"

    subscription_id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=False)
    endpoint_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    push_service: Mapped[str] = mapped_column(String(255), index=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"))
    answered_at: Mapped[datetime] = mapped_column(UtcDateTime)

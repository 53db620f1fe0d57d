"""Table of alerts, with their kinds and states."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import Base, UtcDateTime, word_of
from notifier.models.subscription import Level, RowId


class AlertKind(StrEnum):
    BREAKING = "breaking"
    UPDATE = "update"
    CORRECTION = "correction"
    WITHDRAWAL = "withdrawal"

    @property
    def corrects(self) -> bool:
        """Whether it takes something back, and so goes to whoever may have been told that."""
        return self in (AlertKind.CORRECTION, AlertKind.WITHDRAWAL)


class AlertState(StrEnum):
    """`released` until every push message is settled, or until something ends it early.

    `closing` while workers still hold leases on an alert that has been ended early, or its
    audience is still being counted; the others are final, and nothing waits in them. `failed` is
    one that could not be planned to the end: whoever had been planned until then was served.
    """

    RELEASED = "released"
    CLOSING = "closing"
    FINISHED = "finished"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self not in OPEN_STATES


OPEN_STATES = (AlertState.RELEASED, AlertState.CLOSING)


class Alert(Base):
    """What an editor, or an article flagged as breaking, sends.

    `closing_as` is the final state that an early end leads to, and what the rest of the audience
    settles as. `plan_below` is where planning goes on: the ids below it have not been looked at.
    `plan_failures` counts how often in a row planning has crashed, at last by `plan_error`; it is
    not tried again until `plan_not_before`.
    `flagged_article_id` is the article whose flag raised this alert; its unique index is what
    keeps repeated and concurrent publishing at one alert. `count_rate` is the share of browsers
    that are asked to report what became of the notification; None: nothing is counted.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("story_id", "revision"),
        Index("ix_alerts_open", "state", "planned_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    story_id: Mapped[int] = mapped_column(ForeignKey("stories.id"))
    revision: Mapped[int] = mapped_column(Integer)
    kind: Mapped[AlertKind] = mapped_column(word_of(AlertKind))
    state: Mapped[AlertState] = mapped_column(word_of(AlertState))
    closing_as: Mapped[AlertState | None] = mapped_column(word_of(AlertState))
    flagged_article_id: Mapped[str | None] = mapped_column(ForeignKey("articles.id"), unique=True)
    title: Mapped[str] = mapped_column(String(300))
    body: Mapped[str] = mapped_column(Text)
    url: Mapped[str] = mapped_column(String(2048))
    image: Mapped[str | None] = mapped_column(String(2048))
    sections: Mapped[int] = mapped_column(BigInteger, default=0)  # 0: everybody
    level: Mapped[int] = mapped_column(SmallInteger, default=Level.BREAKING)
    count_rate: Mapped[float | None] = mapped_column(Float)
    released_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    released_by: Mapped[str] = mapped_column(String(200))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    plan_below: Mapped[int] = mapped_column(RowId)
    planned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    plan_failures: Mapped[int] = mapped_column(SmallInteger, default=0)
    plan_not_before: Mapped[datetime | None] = mapped_column(UtcDateTime)
    plan_error: Mapped[str | None] = mapped_column(String(200))


class Reaction(StrEnum):
    """What a browser reports about an alert's notification."""

    SHOWN = "shown"
    CLICKED = "clicked"


class ReactionCount(Base):
    """How many browsers of a family have reported a reaction to an alert; nobody is told apart."""

    __tablename__ = "reaction_counts"

    alert_id: Mapped[int] = mapped_column(
        ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    reaction: Mapped[Reaction] = mapped_column(word_of(Reaction), primary_key=True)
    browser: Mapped[str] = mapped_column(String(16), primary_key=True)
    reports: Mapped[int] = mapped_column(Integer)

"""Tables of the reader's side: subscriptions, sections and the VAPID keys they were made with."""

from datetime import datetime
from enum import IntEnum, StrEnum

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import Base, UtcDateTime, word_of

# SQLite gives AUTOINCREMENT only to a column that is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")


class Level(IntEnum):
    """How much a reader wants, and how big an alert is: it goes to readers of its level or above.

    A reader at `BIGGEST` gets only the biggest stories, at `BREAKING` all breaking news, and at
    `UPDATES` also the updates of a story.
    """

    BIGGEST = 1
    BREAKING = 2
    UPDATES = 3


class OwnMessage(StrEnum):
    """A message to one reader alone: the welcome after opting in, and the test they asked for."""

    WELCOME = "welcome"
    TEST = "test"


class Subscription(Base):
    """One browser's opt-in.

    `sections` has bit n set for the section with id n; 0 stands for every section, also those
    that are added later. `gone_at` is set when the push service has answered that the endpoint
    is no more, `rejected_at` when it began to refuse our messages, while it does. Before
    `hold_until` the push service does not want to be asked about this endpoint again
    (Retry-After), for any alert. `owed` is a message of the reader's own that has not been sent
    yet. Ids only ever grow and are never given twice: batches are made of them.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index(
            "ix_subscriptions_owed",
            "owed",
            sqlite_where=text("owed IS NOT NULL"),
            postgresql_where=text("owed IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(2048))
    endpoint_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    push_service: Mapped[str] = mapped_column(String(255))
    p256dh: Mapped[bytes] = mapped_column(LargeBinary(65))
    auth: Mapped[bytes] = mapped_column(LargeBinary(16))
    vapid_key_id: Mapped[int] = mapped_column(ForeignKey("vapid_keys.id"))
    sections: Mapped[int] = mapped_column(BigInteger, default=0)
    level: Mapped[int] = mapped_column(SmallInteger, default=Level.BREAKING)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    language: Mapped[str | None] = mapped_column(String(35))
    management_token_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    gone_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    rejected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hold_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    owed: Mapped[OwnMessage | None] = mapped_column(word_of(OwnMessage))


class MutedStory(Base):
    """A story that a reader wants to hear no more of."""

    __tablename__ = "muted_stories"

    subscription_id: Mapped[int] = mapped_column(
        ForeignKey("subscriptions.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    story_id: Mapped[int] = mapped_column(
        ForeignKey("stories.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )


class Section(Base):
    """What a reader can choose. Its id is its bit in `Subscription.sections`, so 61 is the last."""

    __tablename__ = "sections"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    slug: Mapped[str] = mapped_column(String(80), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    position: Mapped[int | None] = mapped_column(Integer)  # None: no longer offered


class VapidPublicKey(Base):
    """A key that browsers have subscribed with; its private half lies in a file, never here."""

    __tablename__ = "vapid_keys"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(65), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

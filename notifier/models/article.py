"""Tables of what the newsroom publishes: articles and the stories that they belong to."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Boolean, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from notifier.models.base import Base, UtcDateTime, word_of
from notifier.models.subscription import RowId


class ArticleStatus(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"


class Story(Base):
    """A running news event that one or several alerts are about."""

    __tablename__ = "stories"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


def topic_of(story_id: int) -> str:
    """A story's name towards push services (RFC 8030 section 5.4) and its notification `tag`."""
    return f"story-{story_id}"


class Article(Base):
    """What the CMS told us last about one of its articles; `id` is the CMS's own."""

    __tablename__ = "articles"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    url: Mapped[str] = mapped_column(String(2048))
    title: Mapped[str] = mapped_column(String(300))
    summary: Mapped[str] = mapped_column(Text)
    image: Mapped[str | None] = mapped_column(String(2048))
    sections: Mapped[list[str]] = mapped_column(JSON)  # slugs, known to us or not
    status: Mapped[ArticleStatus] = mapped_column(word_of(ArticleStatus))
    breaking: Mapped[bool] = mapped_column(Boolean)
    major: Mapped[bool] = mapped_column(Boolean, default=False)  # also for Level.BIGGEST
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revision: Mapped[int] = mapped_column(Integer)
    story_id: Mapped[int | None] = mapped_column(ForeignKey("stories.id"))
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

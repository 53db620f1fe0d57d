"""What the CMS tells us; an article that is published and flagged as breaking raises one alert."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from notifier import alerts
from notifier import sections as sections_
from notifier.db import now_of, upsert
from notifier.links import LinkPolicy
from notifier.models import Alert, Article, ArticleStatus, Level


@dataclass(frozen=True, slots=True)
class ArticleContent:
    """An article as a CMS sends it; `revision` None keeps the stored one.

    `major`: it is one of the biggest stories, for readers too who want nothing else.
    """

    url: str
    title: str
    status: ArticleStatus
    summary: str = ""
    image: str | None = None
    sections: tuple[str, ...] = ()
    breaking: bool = False
    major: bool = False
    published_at: datetime | None = None
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a PUT: the article as it stands, its alert if there is one, and whether the
    article is new and the alert was raised by this very call."""

    article: Article
    alert: Alert | None
    created: bool
    raised: bool
    warnings: list[str] = field(default_factory=list)


def publish(
    session: Session,
    article_id: str,
    content: ArticleContent,
    links: LinkPolicy,
    *,
    validity: timedelta,
    released_by: str,
    count_reactions: bool = False,
) -> Published:
    """Store an article, and raise its alert the first time it is both published and breaking.

    Content with a lower revision than the stored one is late: it changes nothing. The caller
    rings a worker after the commit when `raised`. Raises InvalidInput for links that are not
    the newsroom's.
    """
    url = links.check(content.url)
    image = links.check_image(content.image) if content.image else None
    article, created = _locked(session, article_id, url)
    warnings: list[str] = []
    if created or content.revision is None or content.revision >= article.revision:
        article.url = url
        article.title = content.title
        article.summary = content.summary
        article.image = image
        article.sections = [sections_.slug_of(name) for name in content.sections]
        article.status = content.status
        article.breaking = content.breaking
        article.major = content.major
        article.published_at = content.published_at
        article.revision = article.revision if content.revision is None else content.revision
        article.updated_at = now_of(session)
    else:
        warnings.append(
            f"Revision {article.revision} is already stored; nothing was changed by this one."
        )
    alert = alert_of(session, article.id)
    raised = alert is None and article.breaking and article.status == ArticleStatus.PUBLISHED
    if raised:
        bits, unknown = sections_.bits_of(session, article.sections)
        warnings += _unknown_sections(session, unknown)
        alert = alerts.release(
            session,
            alerts.Draft(
                title=article.title,
                body=article.summary,
                url=article.url,
                image=article.image,
                # An article of sections that readers cannot choose goes to those who chose none.
                section_bits=sections_.NOBODYS_CHOICE if unknown and not bits else bits,
                level=Level.BIGGEST if article.major else Level.BREAKING,
            ),
            story_id=article.story_id,
            flagged_article_id=article.id,
            validity=validity,
            released_by=released_by,
            count_reactions=count_reactions,
        )
        article.story_id = alert.story_id
    return Published(article, alert, created=created, raised=raised, warnings=warnings)


def alert_of(session: Session, article_id: str) -> Alert | None:
    """The alert that an article's breaking flag has raised."""
    query = select(Alert).where(Alert.flagged_article_id == article_id)
    return session.scalars(query).one_or_none()


def latest(session: Session, limit: int) -> Sequence[Article]:
    """The articles that the CMS told us about last."""
    return session.scalars(select(Article).order_by(Article.updated_at.desc()).limit(limit)).all()


def _locked(session: Session, article_id: str, url: str) -> tuple[Article, bool]:
    """The article's row, made if need be, and held against others until the commit."""
    created = session.execute(
        upsert(session, Article)
        .values(
            id=article_id,
            url=url,
            title="",
            summary="",
            sections=[],
            status=ArticleStatus.DRAFT,
            breaking=False,
            major=False,
            revision=0,
            updated_at=now_of(session),
        )
        .on_conflict_do_nothing(index_elements=[Article.id])
        .returning(Article.id)
    ).one_or_none()
    article = session.scalars(
        select(Article).where(Article.id == article_id).with_for_update()
    ).one()
    return article, created is not None


def _unknown_sections(session: Session, unknown: Sequence[str]) -> list[str]:
    if not unknown:
        return []
    slugs = ", ".join(section.slug for section in sections_.offered(session))
    return [f"Readers cannot choose {', '.join(unknown)}; they can choose: {slugs}."]

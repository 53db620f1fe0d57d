"""Who gets an alert: how many beforehand, and their ids when it is planned."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from notifier.db import now_of
from notifier.models import Alert, Level, MutedStory, Subscription


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom an alert is for.

    No section stands for everybody. `story_id` is None for the first alert of a story, which
    nobody can have muted yet.
    """

    section_bits: int = 0
    level: Level = Level.BREAKING
    story_id: int | None = None

    @classmethod
    def of(cls, alert: Alert) -> Self:
        story_id = alert.story_id if alert.revision > 1 else None
        return cls(alert.sections, Level(alert.level), story_id)


def wants(audience: Audience, now: datetime) -> ColumnElement[bool]:
    """The condition that a subscription is active, is not paused, and wants such an alert.

    A reader who chose no section wants those of every section.
    """
    conditions = [
        Subscription.gone_at.is_(None),
        Subscription.level >= int(audience.level),
        or_(Subscription.paused_until.is_(None), Subscription.paused_until <= now),
    ]
    if audience.section_bits:
        chosen = Subscription.sections.bitwise_and(audience.section_bits) != 0
        conditions.append(or_(Subscription.sections == 0, chosen))
    if audience.story_id is not None:
        muted = exists().where(
            MutedStory.subscription_id == Subscription.id,
            MutedStory.story_id == audience.story_id,
        )
        conditions.append(~muted)
    return and_(*conditions)


def size(session: Session, audience: Audience) -> int:
    """How many subscriptions such an alert would go to now."""
    wanting = wants(audience, now_of(session))
    query = select(func.count()).select_from(Subscription).where(wanting)
    return session.execute(query).scalar_one()


def ids_below(session: Session, audience: Audience, below: int, limit: int) -> Sequence[int]:
    """The next `limit` ids under `below`, from high to low: the newest readers first."""
    ids = session.connection().execute(  # past the ORM, which would look at every one
        select(Subscription.id)
        .where(Subscription.id < below, wants(audience, now_of(session)))
        .order_by(Subscription.id.desc())
        .limit(limit)
    )
    return ids.scalars().all()


def end(session: Session) -> int:
    """The id above everybody who has subscribed until now."""
    return (session.execute(select(func.max(Subscription.id))).scalar_one() or 0) + 1

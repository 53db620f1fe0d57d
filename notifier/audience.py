"""Who gets an alert: how many beforehand, and their ids when it is planned."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from notifier.models import Subscription


def wants(section_bits: int) -> ColumnElement[bool]:
    """The condition that a subscription is active and wants an alert of these sections.

    An alert of no section is for everybody; a reader who chose no section wants every alert.
    """
    active = Subscription.gone_at.is_(None)
    if not section_bits:
        return active
    chosen = Subscription.sections.bitwise_and(section_bits) != 0
    return and_(active, or_(Subscription.sections == 0, chosen))


def size(session: Session, section_bits: int) -> int:
    """How many subscriptions an alert of these sections would go to now."""
    query = select(func.count()).select_from(Subscription).where(wants(section_bits))
    return session.execute(query).scalar_one()


def ids_below(session: Session, section_bits: int, below: int, limit: int) -> Sequence[int]:
    """The next `limit` ids under `below`, from high to low: the newest readers first."""
    return session.scalars(
        select(Subscription.id)
        .where(Subscription.id < below, wants(section_bits))
        .order_by(Subscription.id.desc())
        .limit(limit)
    ).all()


def end(session: Session) -> int:
    """The id above everybody who has subscribed until now."""
    return (session.execute(select(func.max(Subscription.id))).scalar_one() or 0) + 1

"""What tests of push services that fail or refuse look at, and bring about."""

from datetime import timedelta

from newsroom import Newsroom
from sqlalchemy import func, select, update

from notifier import push_services
from notifier.db import now_of
from notifier.models import Alert, OpenBreaker, Subscription

LONG_AGO = timedelta(hours=1)


def breakers(newsroom: Newsroom) -> dict[str, OpenBreaker]:
    with newsroom.db.read() as session:
        return {row.push_service: row for row in session.scalars(select(OpenBreaker))}


def open_breaker(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        push_services.open_breaker(session, newsroom.control.origin, "test")


def let_probe(newsroom: Newsroom, alert: Alert) -> None:
    """Have it that the breaker's pause is over, and the batches'."""
    with newsroom.db.write() as session:
        session.execute(update(OpenBreaker).values(probe_at=now_of(session) - LONG_AGO))
    newsroom.skip_waiting(alert)


def probe(newsroom: Newsroom, alert: Alert, *, times: int = 1) -> None:
    for _ in range(times):
        let_probe(newsroom, alert)
        newsroom.deliver()


def deliver_without_waiting(newsroom: Newsroom, alert: Alert) -> None:
    """Deliver to the end, as if the pauses between rounds were over at once."""
    while not newsroom.alert(alert.id).state.final:
        newsroom.skip_waiting(alert)
        newsroom.deliver()


def newest(newsroom: Newsroom) -> Subscription:
    """Whom a batch has at its beginning, and would try first."""
    query = select(Subscription).order_by(Subscription.id.desc()).limit(1)
    with newsroom.db.read() as session:
        return session.scalars(query).one()


def refused(newsroom: Newsroom) -> int:
    query = select(func.count()).where(Subscription.rejected_at.is_not(None))
    with newsroom.db.read() as session:
        return session.scalars(query).one()

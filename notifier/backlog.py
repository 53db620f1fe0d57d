"""What waits to be planned and sent, and which batch a worker takes next."""

import random
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from notifier import alerts, planning
from notifier.db import now_of
from notifier.models import Alert, AlertKind, AlertState, Batch

_CONTENDED = 8  # from how many due batches a worker picks one, so that workers seldom collide


@dataclass(frozen=True, slots=True)
class Due:
    """What waits to be worked on now; `batches` counts no further than it was asked to."""

    unplanned: int
    batches: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """All that waits, and since when; `in_work` are the batches that somebody holds.

    `unbegun_since` is about the unplanned alerts of which there is no batch yet.
    """

    unplanned: int
    unplanned_since: datetime | None
    unbegun_since: datetime | None
    due: int
    due_since: datetime | None
    in_work: int


def due(session: Session, most: int) -> Due:
    """What waits to be worked on now; counts at most `most` batches."""
    now = now_of(session)
    batches = (
        select(Batch.id)
        .join(Alert, Alert.id == Batch.alert_id)
        .where(_may_be_sent(now), is_due(now))
        .limit(most)
        .subquery()
    )
    count = select(func.count()).select_from(batches)
    return Due(planning.plannable(session), session.scalars(count).one())


def count_all(session: Session) -> Backlog:
    """All that waits, everything counted."""
    now = now_of(session)
    since = func.min(func.coalesce(Batch.lease_until, Batch.not_before))
    count, due_since = session.execute(
        select(func.count(), since)
        .select_from(Batch)
        .join(Alert, Alert.id == Batch.alert_id)
        .where(_may_be_sent(now), is_due(now))
    ).one()
    in_work = select(func.count()).where(Batch.is_open, Batch.lease_until > now)
    return Backlog(
        unplanned=planning.plannable(session),
        unplanned_since=planning.waiting_since(session),
        unbegun_since=planning.waiting_since(session, unbegun=True),
        due=count,
        due_since=due_since,
        in_work=session.scalars(in_work).one(),
    )


def candidates(session: Session, *, take_over: bool, ahead_of: AlertKind | None) -> list[int]:
    """Some due batches of the alert whose turn it is, in random order; see `Ledger.claim`."""
    now = now_of(session)
    is_left_over = Batch.claim_token.is_not(None)  # by a worker that has died, if it is due
    free = is_due(now) if take_over else and_(is_due(now), ~is_left_over)
    if ahead_of is not None:
        its_rank = planning.RANKS[ahead_of]
        overdue = and_(planning.rank() == its_rank, is_left_over)
        free = and_(free, or_(planning.rank() < its_rank, overdue))
    served = (
        select(func.count())
        .where(Batch.alert_id == Alert.id, or_(~Batch.is_open, Batch.lease_until > now))
        .scalar_subquery()
    )
    alert_id = session.scalars(
        select(Alert.id)
        .where(_may_be_sent(now), exists().where(Batch.alert_id == Alert.id, free))
        .order_by(planning.rank(), served, Alert.id)
        .limit(1)
    ).one_or_none()
    if alert_id is None:
        return []
    batches = (
        select(Batch.id).join(Alert, Alert.id == Batch.alert_id).where(Alert.id == alert_id, free)
    )
    # The newest readers first; but of batches that have been left any may be the one that tries
    # whether a push service works, or a few readers whom nothing reaches could keep it closed.
    order = (Batch.rounds, case((Batch.rounds == 0, Batch.id), else_=0), func.random())
    found = list(session.scalars(batches.order_by(*order).limit(_CONTENDED)))
    random.shuffle(found)
    return found


def is_due(now: datetime) -> ColumnElement[bool]:
    """The condition that a batch is open, its time has come, and no lease on it runs."""
    return and_(
        Batch.is_open,
        Batch.not_before <= now,
        or_(Batch.lease_until.is_(None), Batch.lease_until <= now),
    )


def _may_be_sent(now: datetime) -> ColumnElement[bool]:
    """The condition that an alert's batches may be claimed, those of them that are due."""
    # The earlier alert's last messages must be out before the one that supersedes it starts.
    return and_(
        Alert.state == AlertState.RELEASED, Alert.expires_at > now, ~alerts.earlier_is_sent(now)
    )

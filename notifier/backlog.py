"""What waits to be planned and sent, and which batch a worker takes next."""

import random
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import Select, and_, bindparam, case, exists, func, or_, select
from sqlalchemy.orm import Session

from notifier import alerts, planning
from notifier.db import now_of
from notifier.models import IS_HELD, NOBODY_HOLDS, NOW, Alert, AlertKind, AlertState, Batch

_CONTENDED = 8  # from how many due batches a worker picks one, so that workers seldom collide

IS_DUE = and_(Batch.is_open, Batch.not_before <= NOW, NOBODY_HOLDS)
"""The condition that a batch is open, its time has come, and no lease on it runs."""

# The earlier alert's last messages must be out before the one that supersedes it starts.
_MAY_BE_SENT = and_(
    Alert.state == AlertState.RELEASED, Alert.expires_at > NOW, ~alerts.EARLIER_IS_SENT
)
_DUE = select(Batch).join(Alert, Alert.id == Batch.alert_id).where(_MAY_BE_SENT, IS_DUE)


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
    batches = _DUE.with_only_columns(Batch.id).limit(most).subquery()
    count = select(func.count()).select_from(batches)
    return Due(planning.plannable(session), session.scalars(count, {"now": now}).one())


def count_all(session: Session) -> Backlog:
    """All that waits, everything counted."""
    now = {"now": now_of(session)}
    since = func.min(func.coalesce(Batch.lease_until, Batch.not_before))
    count, due_since = session.execute(_DUE.with_only_columns(func.count(), since), now).one()
    in_work = select(func.count()).where(Batch.is_open, IS_HELD)
    return Backlog(
        unplanned=planning.plannable(session),
        unplanned_since=planning.waiting_since(session),
        unbegun_since=planning.waiting_since(session, unbegun=True),
        due=count,
        due_since=due_since,
        in_work=session.scalars(in_work, now).one(),
    )


def candidates(session: Session, *, take_over: bool, ahead_of: AlertKind | None) -> list[int]:
    """Some due batches of the alert whose turn it is, in random order; see `Ledger.claim`."""
    now = now_of(session)
    turn, batches = _candidates(take_over, ahead_of)
    alert_id = session.scalars(turn, {"now": now}).one_or_none()
    if alert_id is None:
        return []
    found = list(session.scalars(batches, {"now": now, "of_alert": alert_id}))
    random.shuffle(found)
    return found


@cache
def _candidates(take_over: bool, ahead_of: AlertKind | None) -> tuple[Select[int], Select[int]]:
    """The statements that choose an alert, and some batches of it."""
    is_left_over = Batch.claim_token.is_not(None)  # by a worker that has died, if it is due
    free = IS_DUE if take_over else and_(IS_DUE, ~is_left_over)
    if ahead_of is not None:
        rank, its_rank = planning.RANK, planning.RANKS[ahead_of]
        free = and_(free, or_(rank < its_rank, and_(rank == its_rank, is_left_over)))
    served = (
        select(func.coalesce(func.sum(Batch.size), 0))
        .where(Batch.alert_id == Alert.id, or_(~Batch.is_open, IS_HELD))
        .scalar_subquery()
    )
    turn = (
        select(Alert.id)
        .where(_MAY_BE_SENT, exists().where(Batch.alert_id == Alert.id, free))
        .order_by(planning.RANK, served, Alert.id)
        .limit(1)
    )
    batches = (
        select(Batch.id)
        .join(Alert, Alert.id == Batch.alert_id)
        .where(Alert.id == bindparam("of_alert"), free)
        # The newest readers first; but of batches that have been left any may be the one that tries
        # whether a push service works, or a few readers whom nothing reaches could keep it closed.
        .order_by(Batch.rounds, case((Batch.rounds == 0, Batch.id), else_=0), func.random())
        .limit(_CONTENDED)
    )
    return turn, batches

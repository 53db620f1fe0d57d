"""Planning: freezes the audience of an alert into batches, a step at a time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import case, exists, func, or_, select, update
from sqlalchemy.orm import Session

from notifier import alerts, audience, reached
from notifier.audience import Audience
from notifier.db import CLOCKS_DIFFER_BY, Database, is_outage, now_of
from notifier.errors import in_one_line
from notifier.models import NOW, OPEN_STATES, Alert, AlertKind, Batch, BatchMembers

BATCHES_A_STEP = 10
"""How many batches are planned in one transaction, so that sending can start on them."""

LATER_BATCHES = 2
"""Times as large as those of the first step, which is to be over soon, are the others.

What a batch costs besides its messages, as claiming and finishing do, is then paid half as often.
"""

MOST_FAILURES = 5
RETRY_AFTER_A_FAILURE = timedelta(seconds=2)

RANKS = dict.fromkeys(AlertKind, 2) | {AlertKind.WITHDRAWAL: 0, AlertKind.CORRECTION: 1}
"""The most urgent kind of alert has the lowest."""

RANK = case(RANKS, value=Alert.kind)

_IS_NOT_RESTING = or_(Alert.plan_not_before.is_(None), Alert.plan_not_before <= NOW)
_CORRECTS = Alert.kind.in_([kind for kind in AlertKind if kind.corrects])

# Those that have been ended early come last: the rest of their audience is only counted. Whom a
# correction goes to is known when nobody is sending the earlier alerts any more.
_PLANNABLE = (
    select(Alert)
    .where(Alert.state.in_(OPEN_STATES))
    .where(Alert.planned_at.is_(None))
    .where(_IS_NOT_RESTING, or_(~_CORRECTS, ~alerts.EARLIER_IS_SENT))
    .order_by(
        Alert.closing_as.is_not(None),
        RANK,
        select(func.count()).where(Batch.alert_id == Alert.id).scalar_subquery(),
        Alert.id,
    )
)
"""The alerts that are not wholly planned and may be now, those first that need it most."""

_NEEDIEST = _PLANNABLE.with_only_columns(Alert.id).limit(1)
_HOW_MANY = select(func.count()).select_from(_PLANNABLE.subquery())
_SINCE_WHEN = (
    _PLANNABLE.where(Alert.closing_as.is_(None))
    .order_by(None)
    .with_only_columns(func.min(Alert.released_at))
)

log = structlog.get_logger()


def plan(db: Database, batch_size: int) -> bool:
    """Plan up to ten batches of the alert that needs it most; False when none can be planned.

    Those that are planned first are of `batch_size`, see LATER_BATCHES.
    """
    with db.read() as session:
        neediest = session.scalars(_NEEDIEST, {"now": now_of(session)}).one_or_none()
    if neediest is None:
        return False
    try:
        _plan(db, neediest, batch_size)
    except Exception as error:  # whatever is wrong with this alert, the others are to go out
        _note_failure(db, neediest, error)
    with db.write() as session:
        alerts.end_if_settled(session, neediest)
    return True


def plannable(session: Session) -> int:
    """How many alerts wait for somebody to plan them."""
    return session.scalars(_HOW_MANY, {"now": now_of(session)}).one()


def waiting_since(session: Session, *, unbegun: bool = False) -> datetime | None:
    """The release of the oldest alert that is to be sent and waits for somebody to plan it.

    With `unbegun`, of those only that nobody has planned any batch of.
    """
    since = _SINCE_WHEN
    if unbegun:
        since = since.where(~exists().where(Batch.alert_id == Alert.id))
    return session.scalars(since, {"now": now_of(session)}).one()


def _plan(db: Database, alert_id: int, batch_size: int) -> None:
    with db.read() as session:
        alert = alerts.get(session, alert_id)
    if alert.kind.corrects:
        with db.write() as session:
            alerts.settle_earlier(session, alert)
    with db.write() as session:
        still = _PLANNABLE.where(Alert.id == alert_id).with_for_update()
        locked = session.scalars(still, {"now": now_of(session)}).one_or_none()
        if locked is not None:
            _plan_step(session, locked, batch_size)
            locked.plan_failures, locked.plan_error = 0, None


def _note_failure(db: Database, alert_id: int, error: Exception) -> None:
    """Let an alert rest that cannot be planned, and give up after five failures in a row.

    A database that is full or away is no fault of the alert's, and is waited for.
    """
    words = in_one_line(error)
    with db.write() as session:
        now = now_of(session)
        # Others that failed with it at the same moment do not count.
        failures = session.scalars(
            update(Alert)
            .where(Alert.id == alert_id, Alert.planned_at.is_(None), _IS_NOT_RESTING)
            .values(
                plan_failures=Alert.plan_failures + (0 if is_outage(error) else 1),
                plan_not_before=now + RETRY_AFTER_A_FAILURE,
                plan_error=words,
            )
            .returning(Alert.plan_failures)
            .execution_options(synchronize_session=False),
            {"now": now},
        ).one_or_none()
        if failures is not None and failures >= MOST_FAILURES:
            given_up = update(Alert).where(Alert.id == alert_id).values(planned_at=now)
            session.execute(given_up.execution_options(synchronize_session=False))
    log.error("planning_failed", alert=alert_id, failures=failures, error=words)


def _plan_step(session: Session, alert: Alert, batch_size: int) -> None:
    now = now_of(session)
    become = "waiting" if alert.closing_as is None else alerts.COUNT_OF_ENDING[alert.closing_as]
    is_begun = session.scalars(select(exists().where(Batch.alert_id == alert.id))).one()
    size = LATER_BATCHES * batch_size if is_begun else batch_size
    most = size * BATCHES_A_STEP
    ids = _ids_below(session, alert, most)
    groups = [list(ids[start : start + size]) for start in range(0, len(ids), size)]
    batches = [
        Batch(
            alert_id=alert.id,
            size=len(group),
            lowest_id=group[-1],
            is_open=alert.closing_as is None,
            not_before=now - CLOCKS_DIFFER_BY,  # due at once, by a clock that is behind, too
            **{"waiting": 0, become: len(group)},
        )
        for group in groups
    ]
    session.add_all(batches)
    session.flush()  # gives them their ids
    session.add_all(
        BatchMembers(batch_id=batch.id, subscription_ids=group)
        for batch, group in zip(batches, groups, strict=True)
    )
    if ids:
        alert.plan_below = ids[-1]
    if len(ids) < most:
        alert.planned_at = now


def _ids_below(session: Session, alert: Alert, most: int) -> Sequence[int]:
    """The next readers that an alert goes to, the newest first."""
    if alert.kind.corrects:
        return reached.ids_below(session, alert, alert.plan_below, most)
    return audience.ids_below(session, Audience.of(alert), alert.plan_below, most)

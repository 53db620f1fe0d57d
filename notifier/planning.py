"""Planning: freezes the audience of an alert into batches, a step at a time."""

from collections.abc import Sequence

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.orm import Session

from notifier import alerts, audience, reached
from notifier.audience import Audience
from notifier.db import Database, now_of
from notifier.models import Alert, AlertKind, AlertState, Batch, BatchMembers

BATCHES_A_STEP = 10
"""How many batches are planned in one transaction, so that sending can start on them."""

URGENCY = case(
    (Alert.kind == AlertKind.WITHDRAWAL, 0), (Alert.kind == AlertKind.CORRECTION, 1), else_=2
)


def plan(db: Database, batch_size: int) -> bool:
    """Plan up to ten batches of the alert that needs it most; False when none can be planned."""
    with db.read() as session:
        neediest = session.scalars(_plannable(session).limit(1)).one_or_none()
    if neediest is None:
        return False
    if neediest.kind.corrects:
        with db.write() as session:
            alerts.settle_earlier(session, neediest)
    with db.write() as session:
        alert = session.scalars(
            _plannable(session).where(Alert.id == neediest.id).with_for_update()
        ).one_or_none()
        if alert is not None:
            _plan_step(session, alert, batch_size)
    with db.write() as session:
        alerts.end_if_settled(session, neediest.id)
    return True


def plannable(session: Session) -> int:
    """How many alerts wait for somebody to plan them."""
    return session.scalars(select(func.count()).select_from(_plannable(session).subquery())).one()


def _plannable(session: Session) -> Select[Alert]:
    """The alerts that are not wholly planned and may be now, those first that need it most.

    Those that have been ended early come last: the rest of their audience is only counted. Whom a
    correction goes to is known when nobody is sending the earlier alerts any more.
    """
    planned = select(func.count()).where(Batch.alert_id == Alert.id).scalar_subquery()
    corrects = Alert.kind.in_([kind for kind in AlertKind if kind.corrects])
    return (
        select(Alert)
        .where(Alert.state.in_([AlertState.RELEASED, AlertState.CLOSING]))
        .where(Alert.planned_at.is_(None))
        .where(or_(~corrects, ~alerts.earlier_is_sent(now_of(session))))
        .order_by(Alert.closing_as.is_not(None), URGENCY, planned, Alert.id)
    )


def _plan_step(session: Session, alert: Alert, batch_size: int) -> None:
    now = now_of(session)
    become = "waiting" if alert.closing_as is None else alerts.COUNT_OF_ENDING[alert.closing_as]
    most = batch_size * BATCHES_A_STEP
    ids = _ids_below(session, alert, most)
    for start in range(0, len(ids), batch_size):
        members = list(ids[start : start + batch_size])
        batch = Batch(
            alert_id=alert.id,
            size=len(members),
            lowest_id=members[-1],
            is_open=alert.closing_as is None,
            not_before=now,
            **{"waiting": 0, become: len(members)},
        )
        session.add(batch)
        session.flush()
        session.add(BatchMembers(batch_id=batch.id, subscription_ids=members))
    if ids:
        alert.plan_below = ids[-1]
    if len(ids) < most:
        alert.planned_at = now


def _ids_below(session: Session, alert: Alert, most: int) -> Sequence[int]:
    """The next readers that an alert goes to, the newest first."""
    if alert.kind.corrects:
        return reached.ids_below(session, alert, alert.plan_below, most)
    return audience.ids_below(session, Audience.of(alert), alert.plan_below, most)

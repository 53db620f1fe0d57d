"""What is known about push services across processes: breakers, and 410s that ops must judge."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import structlog
from sqlalchemy import and_, delete, exists, func, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from notifier.db import Database, dialect_of, insert_into, now_of, upsert
from notifier.models import Alert, DoubtfulGone, OpenBreaker, ServiceAnswers, Subscription
from notifier.push.breaker import pause_before_probe

ENOUGH_ANSWERS = 500
MOST_GONE = 0.3
"""More Gone than this share of at least 500 answers to one alert is not readers leaving."""

MOSTLY_GONE = 0.6
"""Nor is more than this share of each 500 answers that one process gets, whatever came before."""

APPLIED_AT_ONCE = 500
PROBE_ANSWERS_WITHIN = timedelta(seconds=10)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GoneEndpoint:
    """An endpoint that was answered Gone. Its owner may have moved to another one meanwhile."""

    subscription_id: int
    endpoint_hash: bytes
    push_service: str


def open_breakers(session: Session) -> dict[str, datetime]:
    """The push services that are left alone, and when each may be tried again."""
    rows = session.scalars(select(OpenBreaker))
    return {breaker.push_service: breaker.probe_at for breaker in rows}


def open_breaker(session: Session, push_service: str, reason: str) -> None:
    """Leave a push service alone for a while, unless another process has seen to that already."""
    now = now_of(session)
    opened = session.execute(
        upsert(session, OpenBreaker)
        .values(
            push_service=push_service,
            opened_at=now,
            probe_at=now + pause_before_probe(1),
            openings=1,
            reason=reason,
        )
        .on_conflict_do_nothing()
        .returning(OpenBreaker.push_service)
    ).one_or_none()
    if opened is not None:
        log.error("breaker_opened", push_service=push_service, reason=reason)


def note_failed_probe(session: Session, push_service: str, reason: str) -> None:
    """Leave a push service alone again, and for longer."""
    breaker = session.get(OpenBreaker, push_service, with_for_update=True)
    if breaker is None:  # another's probe was answered meanwhile
        open_breaker(session, push_service, reason)
        return
    breaker.openings += 1
    breaker.probe_at = now_of(session) + pause_before_probe(breaker.openings)
    breaker.reason = reason


def win_probe(session: Session, push_service: str) -> bool:
    """Whether the caller is the one that may send one message to a push service that is open.

    If no answer to it is recorded in time, somebody else may try.
    """
    now = now_of(session)
    won = session.execute(
        update(OpenBreaker)
        .where(OpenBreaker.push_service == push_service, OpenBreaker.probe_at <= now)
        .values(probe_at=now + PROBE_ANSWERS_WITHIN)
        .returning(OpenBreaker.push_service)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return won is not None


def close_breaker(session: Session, push_service: str) -> None:
    """Let everybody send to a push service again."""
    session.execute(delete(OpenBreaker).where(OpenBreaker.push_service == push_service))
    log.info("breaker_closed", push_service=push_service)


def record_answers(
    session: Session,
    alert_id: int,
    answers: Mapping[str, int],
    gone: Sequence[GoneEndpoint],
    dropped: Mapping[str, int],
    *,
    mostly_gone: Collection[str] = (),
) -> None:
    """Count the answers of each push service, and deactivate who is gone, unless that is doubtful.

    When too many of a push service's answers to this alert are Gone, something is wrong with it
    or with us: then all its deactivations since the alert's release are put aside for ops, and
    those of this alert to come. Until ops have decided, so are those of alerts with too few answers
    to judge by. `dropped` counts who was accepted in name only; `mostly_gone` are the push services
    whose last answers were nearly all Gone, which so large an alert's share would hide.
    """
    by_service: dict[str, list[GoneEndpoint]] = {}
    for endpoint in gone:
        by_service.setdefault(endpoint.push_service, []).append(endpoint)
    for push_service in sorted(answers):  # in one order, so that processes do not deadlock
        endpoints = by_service.get(push_service, [])
        dropped_now = dropped.get(push_service, 0)
        counts = {
            "alert_id": alert_id,
            "push_service": push_service,
            "answers": answers[push_service],
            "gone": len(endpoints),
            "dropped": dropped_now,
        }
        added = session.connection().execute(_adding(dialect_of(session)), counts)
        total, total_gone, total_dropped, doubtful_at = added.one()
        if dropped_now and dropped_now == total_dropped:
            log.warning("messages_dropped", push_service=push_service, alert=alert_id)
        if not endpoints:
            continue
        if doubtful_at is not None:
            _put_aside(session, alert_id, push_service, endpoints)
        elif push_service in mostly_gone or (
            total >= ENOUGH_ANSWERS and total_gone > MOST_GONE * total
        ):
            _begin_to_doubt(session, alert_id, push_service)
            _put_aside(session, alert_id, push_service, endpoints)
        elif total < ENOUGH_ANSWERS and is_doubted(session, push_service):
            _put_aside(session, alert_id, push_service, endpoints)
        else:
            _deactivate(session, endpoints)


@cache
def _adding(dialect: str) -> ReturningInsert[int, int, int, datetime | None]:
    """The statement that adds to a push service's counts: made once, as it runs so often."""
    statement = insert_into(ServiceAnswers, dialect)
    return statement.on_conflict_do_update(
        index_elements=[ServiceAnswers.alert_id, ServiceAnswers.push_service],
        set_={
            "answers": ServiceAnswers.answers + statement.excluded.answers,
            "gone": ServiceAnswers.gone + statement.excluded.gone,
            "dropped": ServiceAnswers.dropped + statement.excluded.dropped,
        },
    ).returning(
        ServiceAnswers.answers,
        ServiceAnswers.gone,
        ServiceAnswers.dropped,
        ServiceAnswers.doubtful_at,
    )


def dropped(session: Session, alert_id: int) -> dict[str, int]:
    """How many of an alert's messages each push service took and then said to have thrown away.

    Those count as accepted. Only push services that have done so are named.
    """
    rows = session.execute(
        select(ServiceAnswers.push_service, ServiceAnswers.dropped)
        .where(ServiceAnswers.alert_id == alert_id, ServiceAnswers.dropped > 0)
        .order_by(ServiceAnswers.push_service)
    )
    return dict(rows.all())


def doubtful(session: Session) -> Sequence[tuple[str, int, int]]:
    """What waits for a decision: push service, alert, and how many subscriptions."""
    rows = session.execute(
        select(DoubtfulGone.push_service, DoubtfulGone.alert_id, func.count())
        .group_by(DoubtfulGone.push_service, DoubtfulGone.alert_id)
        .order_by(DoubtfulGone.alert_id)
    )
    return [(push_service, alert_id, count) for push_service, alert_id, count in rows]


def is_doubted(session: Session, push_service: str) -> bool:
    """Whether something that the push service has called gone waits for a decision."""
    waits = exists().where(DoubtfulGone.push_service == push_service)
    return session.scalars(select(waits)).one()


def apply_doubtful(db: Database, push_service: str) -> int:
    """Believe the push service: deactivate what was put aside; answers how many there were.

    Page by page, so that no worker waits long for a row.
    """
    applied = 0
    while True:
        with db.write() as session:
            ids = session.scalars(
                select(DoubtfulGone.subscription_id)
                .where(DoubtfulGone.push_service == push_service)
                .order_by(DoubtfulGone.subscription_id)
                .limit(APPLIED_AT_ONCE)
            ).all()
            if not ids:
                return applied
            page = and_(
                DoubtfulGone.push_service == push_service, DoubtfulGone.subscription_id.in_(ids)
            )
            still_theirs = exists().where(
                page,
                DoubtfulGone.subscription_id == Subscription.id,
                DoubtfulGone.endpoint_hash == Subscription.endpoint_hash,
            )
            session.execute(
                update(Subscription)
                .where(Subscription.id.in_(ids), still_theirs)
                .values(gone_at=now_of(session))
                .execution_options(synchronize_session=False)
            )
            result = session.execute(delete(DoubtfulGone).where(page))
            applied += int(result.rowcount)  # type: ignore[attr-defined]


def discard_doubtful(session: Session, push_service: str) -> int:
    """Do not believe it: the subscriptions stay; answers how many there were."""
    result = session.execute(delete(DoubtfulGone).where(DoubtfulGone.push_service == push_service))
    return int(result.rowcount)  # type: ignore[attr-defined]


def _deactivate(session: Session, endpoints: Iterable[GoneEndpoint]) -> None:
    now = now_of(session)
    for endpoint in endpoints:
        session.execute(
            update(Subscription)
            .where(
                Subscription.id == endpoint.subscription_id,
                Subscription.endpoint_hash == endpoint.endpoint_hash,
            )
            .values(gone_at=now)
            .execution_options(synchronize_session=False)
        )


def _begin_to_doubt(session: Session, alert_id: int, push_service: str) -> None:
    """Take back, once for an alert, the deactivations that a push service has caused meanwhile.

    Once, as what ops decide about afterwards must stay decided.
    """
    session.execute(
        update(ServiceAnswers)
        .where(ServiceAnswers.alert_id == alert_id, ServiceAnswers.push_service == push_service)
        .values(doubtful_at=now_of(session))
        .execution_options(synchronize_session=False)
    )
    released_at = select(Alert.released_at).where(Alert.id == alert_id).scalar_subquery()
    rows = session.execute(
        update(Subscription)
        .where(Subscription.push_service == push_service, Subscription.gone_at >= released_at)
        .values(gone_at=None)
        .returning(Subscription.id, Subscription.endpoint_hash)
        .execution_options(synchronize_session=False)
    )
    _put_aside(session, alert_id, push_service, [GoneEndpoint(*row, push_service) for row in rows])


def _put_aside(
    session: Session, alert_id: int, push_service: str, endpoints: Sequence[GoneEndpoint]
) -> None:
    if not endpoints:
        return
    now = now_of(session)
    waits = exists().where(
        DoubtfulGone.alert_id == alert_id, DoubtfulGone.push_service == push_service
    )
    if not session.scalars(select(waits)).one():  # also when ops have decided, and more comes
        log.error("gone_is_doubtful", push_service=push_service, alert=alert_id)
    # A subscription that another alert has put aside already stays that alert's.
    session.execute(
        upsert(session, DoubtfulGone).on_conflict_do_nothing(),
        [
            {
                "subscription_id": endpoint.subscription_id,
                "endpoint_hash": endpoint.endpoint_hash,
                "push_service": push_service,
                "alert_id": alert_id,
                "answered_at": now,
            }
            for endpoint in endpoints
        ],
    )

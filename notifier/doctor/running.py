"""Examines what is going on: who is alive, what waits, and whom push services trouble."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from notifier import heartbeats, push_services
from notifier.backlog import Backlog
from notifier.db import Database, now_of
from notifier.doctor.finding import Finding, there, trouble, unseen
from notifier.ledger import Ledger
from notifier.models import Alert, AlertState, OpenBreaker, Program

WAITS_TOO_LONG = timedelta(minutes=1)
_RECENTLY = timedelta(days=1)

_STARTED_BY = {
    Program.WORKER: ("background workers", "python -m worker.supervisor"),
    Program.CLOCK: ("clock", "python -m worker.clock"),
}


def examine_running(db: Database) -> Iterator[Finding]:
    """Whether alerts go out now. The database must have been prepared. Raises SQLAlchemyError."""
    backlog = Ledger(db).backlog()
    with db.read() as session:
        now = now_of(session)
        for program in Program:
            yield _program(session, program, now)
        yield _queue(backlog, now)
        yield from _alerts(session, now)
        yield from _push_services(session, now)


def _program(session: Session, program: Program, now: datetime) -> Finding:
    subject, command = _STARTED_BY[program]
    known = heartbeats.of(session, program)
    living = [heartbeat.host for heartbeat in known if heartbeats.is_alive(heartbeat, now)]
    silent = [
        f"{heartbeat.host} ({_age(now - heartbeat.beat_at)} ago)"
        for heartbeat in known
        if heartbeat.host not in living
    ]
    if not living:
        heard = f"last heard: {', '.join(silent)}" if silent else "none was heard in the last day"
        return trouble(
            subject,
            f"None is alive; {heard}.",
            f"Start it: {command}. If it runs, its log says what keeps it from working.",
        )
    text = f"Alive on {', '.join(living)}."
    if silent:
        return unseen(subject, f"{text} No longer heard: {', '.join(silent)}.")
    return there(subject, text)


def _queue(backlog: Backlog, now: datetime) -> Finding:
    # While batches are sent, others may well wait for their turn for minutes, and as planning goes
    # on in between, so may the rest of a large audience.
    busy, idle = (backlog.unbegun_since,), (backlog.unplanned_since, backlog.due_since)
    waits = now - min(filter(None, busy if backlog.in_work else idle), default=now)
    parts = [
        f"alerts to be planned: {backlog.unplanned:,}" if backlog.unplanned else "",
        f"being sent: {_batches(backlog.in_work)}" if backlog.in_work else "",
        f"due: {_batches(backlog.due)}" if backlog.due else "",
    ]
    text = ", ".join(filter(None, parts)) or "nothing waits"
    text = text[0].upper() + text[1:]
    if backlog.due_since is not None:
        text += f", the oldest for {_age(now - backlog.due_since)}"
    if waits > WAITS_TOO_LONG:
        return trouble(
            "queue",
            f"{text}. Nobody has worked on it for {_age(waits)}.",
            "See that workers, clock and broker are well, as said here; then look at the "
            "workers' log.",
        )
    return there("queue", f"{text}.")


def _alerts(session: Session, now: datetime) -> Iterator[Finding]:
    query = select(Alert.id, Alert.state, Alert.plan_error).where(
        Alert.plan_error.is_not(None),
        or_(Alert.ended_at.is_(None), Alert.ended_at > now - _RECENTLY),
    )
    for alert_id, state, error in session.execute(query.order_by(Alert.id)):
        is_open = not AlertState(state).final
        yield trouble(
            f"alert {alert_id}",
            f"Its readers cannot be looked up: {error}",
            "It is tried again by itself; should that go on, report this error."
            if is_open
            else "Not everybody was sent to. Report this error, and raise the alert anew.",
        )


def _push_services(session: Session, now: datetime) -> Iterator[Finding]:
    breakers = session.scalars(select(OpenBreaker).order_by(OpenBreaker.push_service)).all()
    for breaker in breakers:
        yield trouble(
            breaker.push_service,
            f"Left alone for {_age(now - breaker.opened_at)}: it {breaker.reason}.",
            "It is tried again by itself. To see its own words: notifier push --id ID",
        )
    if not breakers:
        yield there("push services", "None is left alone.")
    for push_service, alert_id, count in push_services.doubtful(session):
        yield trouble(
            "doubtful 410s",
            f"{push_service} called {count:,} subscriptions gone at alert {alert_id}; they stay "
            "until you decide.",
            f"notifier gone apply {push_service}, or: notifier gone discard {push_service}",
        )


def _batches(count: int) -> str:
    return f"{count:,} batch{'' if count == 1 else 'es'}"


def _age(age: timedelta) -> str:
    seconds = max(round(age.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3_600} h"

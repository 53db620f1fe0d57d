"""Heartbeats: which programs are alive, as their own word in the database has it."""

import socket
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from notifier.db import Database, now_of, upsert
from notifier.models import Heartbeat, Program

BEAT_EVERY = timedelta(seconds=5)
SILENT_AFTER = timedelta(seconds=20)
"""A program is taken for dead when it has missed three beats; a restart takes less."""

FORGOTTEN_AFTER = timedelta(days=1)


def beat(db: Database, program: Program) -> None:
    """Record that the program does its work on this host. Raises SQLAlchemyError."""
    with db.write(durable=False) as session:
        now = now_of(session)
        statement = upsert(session, Heartbeat).values(
            program=program, host=socket.gethostname(), beat_at=now
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[Heartbeat.program, Heartbeat.host],
                set_={"beat_at": statement.excluded.beat_at},
            )
        )
        session.execute(
            delete(Heartbeat)
            .where(Heartbeat.beat_at < now - FORGOTTEN_AFTER)
            .execution_options(synchronize_session=False)
        )


def of(session: Session, program: Program) -> Sequence[Heartbeat]:
    """The last day's heartbeats of a program, one for each host, the latest first."""
    query = select(Heartbeat).where(Heartbeat.program == program)
    return session.scalars(query.order_by(Heartbeat.beat_at.desc())).all()


def is_alive(heartbeat: Heartbeat, now: datetime) -> bool:
    """Whether it was heard lately; `now` is the database's time."""
    return now - heartbeat.beat_at < SILENT_AFTER


def alive(session: Session, program: Program) -> bool:
    """Whether the program is alive on any host."""
    now = now_of(session)
    return any(is_alive(heartbeat, now) for heartbeat in of(session, program))

"""The clock: asks the database once a second what is due, and rings. Run as many as you like."""

import signal
import threading
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from notifier import heartbeats, own_messages, subscriptions
from notifier.clock import boot_time
from notifier.config import get_settings
from notifier.db import Database
from notifier.jobs import Job
from notifier.ledger import Ledger
from notifier.log import configure
from notifier.models import Program
from notifier.setup import require
from worker.app import app
from worker.doorbell import ring

TICK = timedelta(seconds=1)
PRUNE_EVERY = timedelta(hours=1)

log = structlog.get_logger()


def tick(db: Database, ledger: Ledger) -> None:
    """Close what time has ended, and ring for what is due."""
    ledger.tidy()
    due = ledger.due(most=app.conf.worker_concurrency)
    if due.unplanned:
        ring(Job.FAN_OUT)
    if due.batches:
        ring(Job.DELIVER, times=due.batches)
    with db.read() as session:
        owed = own_messages.is_due(session)
    if owed:
        ring(Job.OWN_MESSAGES)


def main() -> None:
    """Tick until SIGTERM or SIGINT."""
    settings = get_settings()
    configure(settings)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    db = Database(settings.database)
    require(db)
    ledger = Ledger(db)
    beat_at = prune_at = boot_time()
    log.info("clock_started")
    while not stop.is_set():
        try:
            tick(db, ledger)
            if boot_time() >= beat_at:
                heartbeats.beat(db, Program.CLOCK)
                beat_at = boot_time() + heartbeats.BEAT_EVERY.total_seconds()
            if boot_time() >= prune_at:
                subscriptions.prune(db, settings.forget_unseen_after)
                prune_at = boot_time() + PRUNE_EVERY.total_seconds()
        except SQLAlchemyError as error:
            log.error("clock_failed", error=type(error).__name__)
        stop.wait(TICK.total_seconds())
    db.close()


if __name__ == "__main__":
    main()

"""The clock: asks the database once a second what is due, and rings. Run as many as you like."""

import signal
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog

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


def tick(db: Database, ledger: Ledger) -> bool:
    """Close what time has ended, and ring for what is due; whether all went well."""
    has_tidied = _do("tidy", ledger.tidy)
    has_rung = _do("ring", lambda: _ring_for_what_is_due(db, ledger))
    return has_tidied and has_rung


def _ring_for_what_is_due(db: Database, ledger: Ledger) -> None:
    due = ledger.due(most=app.conf.worker_concurrency)
    if due.unplanned or due.batches:
        ring(Job.DELIVER, times=max(due.batches, 1))
    with db.read() as session:
        owed = own_messages.is_due(session)
    if owed:
        ring(Job.OWN_MESSAGES)


def _do(duty: str, work: Callable[[], object]) -> bool:
    """Whatever goes wrong with one duty, the others are done, and it is tried again."""
    try:
        work()
    except Exception as error:
        log.error("clock_failed", duty=duty, error=type(error).__name__)
        return False
    return True


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
        went_well = tick(db, ledger)
        if went_well and boot_time() >= beat_at:  # its silence tells ops that something is wrong
            _do("beat", lambda: heartbeats.beat(db, Program.CLOCK))
            beat_at = boot_time() + heartbeats.BEAT_EVERY.total_seconds()
        if boot_time() >= prune_at:
            _do("prune", lambda: subscriptions.prune(db, settings.forget_unseen_after))
            prune_at = boot_time() + PRUNE_EVERY.total_seconds()
        stop.wait(TICK.total_seconds())
    db.close()


if __name__ == "__main__":
    main()

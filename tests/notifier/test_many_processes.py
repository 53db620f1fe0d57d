"""Many processes on one database, as workers, clock and web app are."""

import multiprocessing
import threading
from contextlib import suppress

import pytest
from publication import Publication
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from notifier import audience
from notifier.audience import Audience
from notifier.config import Settings
from notifier.db import Database
from notifier.ledger import Ledger
from notifier.models import Alert, AlertState

PROCESSES = 4
OPT_INS = 15


def work(url: str) -> int:
    """Deliver all that is due, with a checkpoint for each reader, while others opt in.

    Gives how many readers this process has settled. That the database never refuses a write is
    what it is about: an error here fails the test.
    """
    db = Database(url)
    publication, ledger = Publication(db), Ledger(db, batch_size=4)
    settled = opted_in = 0
    while True:
        ledger.plan()
        lease = ledger.claim()
        if lease is None and opted_in >= OPT_INS:
            break
        if opted_in < OPT_INS:
            publication.add_readers(1)
            opted_in += 1
        if lease is not None:
            for bit in range(len(lease.ids)):
                lease.settle(bit, "accepted")
                assert ledger.checkpoint([lease]) == []
            settled += len(lease.ids)
            ledger.finish(lease)
        ledger.tidy()
    db.close()
    return settled


def test_processes_that_write_at_once_neither_fail_nor_lose_nor_repeat(
    db: Database, settings: Settings, publication: Publication
) -> None:
    publication.add_readers(120)
    first, second = publication.release(), publication.release()

    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        settled = pool.map(work, [settings.database] * PROCESSES, chunksize=1)

    assert sum(settled) == 240, "each batch was delivered by one of them"
    for alert in (first, second):
        assert publication.counts(alert.id) == {"audience": 120, "accepted": 120}
        assert publication.alert(alert.id).state == AlertState.FINISHED
    with db.read() as session:
        assert audience.size(session, Audience()) == 120 + PROCESSES * OPT_INS


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.postgresql
def test_a_process_that_freezes_in_a_transaction_does_not_hold_up_the_others(
    db: Database, publication: Publication
) -> None:
    """By SIGSTOP, or as its host is cut off: PostgreSQL keeps its locks until it gives up on it."""
    alert = publication.release()
    planning = threading.Thread(target=Ledger(db).plan)
    with suppress(DBAPIError), db.write() as session:
        session.execute(select(Alert.id).where(Alert.id == alert.id).with_for_update())
        planning.start()
        planning.join(25)
    waits = planning.is_alive()
    planning.join()
    assert not waits

"""Many processes on one database, as workers, clock and web app are."""

import multiprocessing

from publication import Publication

from notifier import audience
from notifier.audience import Audience
from notifier.config import Settings
from notifier.db import Database
from notifier.ledger import Ledger
from notifier.models import AlertState

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

"""What breaks in the middle of a delivery: the database, a row, a worker's own code."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ledger_steps import plan_all
from newsroom import Newsroom
from publication import HOUR
from sqlalchemy import (
    Connection,
    ExceptionContext,
    delete,
    event,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from notifier import backlog
from notifier.db import Database, now_of
from notifier.health import ServiceHealth
from notifier.ledger import Lease, Ledger
from notifier.models import Alert, AlertKind, AlertState, Batch, BatchMembers, Subscription
from notifier.poison import MOST_FUTILE_CLAIMS

# The database


class Disk:
    """Of a SQLite database: while it is full, the file cannot grow by a page."""

    def __init__(self, db: Database) -> None:
        self.refused = 0
        self._db = db
        self.is_full = False
        with db.write() as session:
            session.execute(text("CREATE TABLE filler (bytes)"))
        event.listen(db.engine, "begin", self._limit)
        event.listen(db.engine, "handle_error", self._note)

    def fill(self) -> None:
        self.is_full = True
        with suppress(OperationalError):
            while True:
                with self._db.write() as session:
                    session.execute(text("INSERT INTO filler VALUES (zeroblob(2000))"))
        self.refused = 0

    def make_room(self) -> None:
        self.is_full = False

    def _limit(self, connection: Connection) -> None:
        most = 1 if self.is_full else 2**31  # less than there are already: no more than these
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    def _note(self, context: ExceptionContext) -> None:
        self.refused += "is full" in str(context.original_exception)


class Broken(Ledger):
    """The database is away during some of the calls."""

    def __init__(self, db: Database, method: str, calls: range) -> None:
        super().__init__(db, batch_size=200)
        self._calls = {method: 0}
        self._away = calls
        self.failed = 0

    def _count(self, method: str) -> None:
        if method not in self._calls:
            return
        self._calls[method] += 1
        if self._calls[method] in self._away:
            self.failed += 1
            raise OperationalError("UPDATE", {}, ConnectionError("the database is away"))

    def claim(self, **options: Any) -> Lease | None:
        self._count("claim")
        return super().claim(**options)

    def checkpoint(self, leases: Any) -> list[Lease]:
        self._count("checkpoint")
        return super().checkpoint(leases)

    def finish(self, lease: Lease, **options: Any) -> None:
        self._count("finish")
        super().finish(lease, **options)


# Of checkpoints only the first is certain: how soon the next ones come depends on what it took.
@pytest.mark.parametrize(("method", "first"), [("claim", 2), ("checkpoint", 1), ("finish", 2)])
def test_sending_pauses_while_the_database_is_away(
    newsroom: Newsroom, method: str, first: int
) -> None:
    newsroom.opt_in(500)
    alert = newsroom.release()
    broken = Broken(newsroom.db, method, range(first, first + 4))
    sent_while_away: list[int] = []

    def watch() -> bool:
        if 0 < broken.failed < 4:
            sent_while_away.append(newsroom.control.report()["requests"])
        return True

    worker = newsroom.worker(broken)
    while newsroom.alert(alert.id).state != AlertState.FINISHED:
        newsroom.deliver(worker, keep_going=watch)

    assert broken.failed == 4
    assert sent_while_away[-1] - sent_while_away[0] <= 100, "only what was in flight comes in"
    assert newsroom.counts(alert.id) == {"audience": 500, "accepted": 500}
    report = newsroom.control.report()
    assert report["requests"] == 500
    assert report["duplicates"] == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("sent_before", [0, 1])
def test_a_full_disk_is_waited_for(newsroom: Newsroom, sent_before: int) -> None:
    disk = Disk(newsroom.db)
    newsroom.opt_in(500)
    alert = newsroom.release()

    def watch() -> bool:
        if disk.refused > 3:
            disk.make_room()
        elif not disk.is_full and newsroom.control.report()["requests"] >= sent_before:
            disk.fill()
        return True

    worker = newsroom.worker(Ledger(newsroom.db, batch_size=5))
    while newsroom.alert(alert.id).state != AlertState.FINISHED:
        newsroom.deliver(worker, keep_going=watch)

    assert newsroom.counts(alert.id) == {"audience": 500, "accepted": 500}
    report = newsroom.control.report()
    assert report["lost"] == report["duplicates"] == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_has_become_a_standby_is_waited_for(newsroom: Newsroom) -> None:
    newsroom.opt_in(300)
    newsroom.control.set_faults([{"delay": 0.05}])
    alert = newsroom.release()
    is_standby, refused = False, 0

    @event.listens_for(newsroom.db.engine, "begin")
    def only_let_read(connection: Connection) -> None:
        if is_standby:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    @event.listens_for(newsroom.db.engine, "handle_error")
    def note(_context: ExceptionContext) -> None:
        nonlocal refused
        refused += 1

    def watch() -> bool:
        nonlocal is_standby
        is_standby = refused <= 3 and newsroom.control.report()["requests"] > 0
        return True

    worker = newsroom.worker(Ledger(newsroom.db, batch_size=5))
    while newsroom.alert(alert.id).state != AlertState.FINISHED:
        newsroom.deliver(worker, keep_going=watch)

    assert refused > 3
    assert newsroom.counts(alert.id) == {"audience": 300, "accepted": 300}
    assert newsroom.control.report()["requests"] == 300


def test_a_database_that_keeps_a_worker_waiting_makes_no_duplicates(
    newsroom: Newsroom, other_db: Database
) -> None:
    """What was answered meanwhile does not count as lost."""
    newsroom.opt_in(8)
    newsroom.control.set_faults([{"delay": 1}])
    alert = newsroom.release()
    begun, over = threading.Event(), threading.Event()

    def write_for_long() -> None:
        with other_db.write() as session:
            # SQLite lets nobody else write as soon as a transaction has begun.
            lock = "SELECT 1" if other_db.is_sqlite else "LOCK TABLE batches"
            session.execute(text(lock))
            begun.set()
            over.wait()

    def watch() -> bool:
        if newsroom.control.report()["requests"] == 8 and not begun.is_set():
            writer.start()
            begun.wait()
            ends.start()
        return True

    writer, ends = threading.Thread(target=write_for_long), threading.Timer(7, over.set)
    newsroom.deliver(keep_going=watch)
    writer.join()

    assert newsroom.counts(alert.id) == {"audience": 8, "accepted": 8}
    assert newsroom.control.report()["duplicates"] == 0


def test_an_outage_at_a_probe_puts_nobody_off(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(20)
    with newsroom.db.write() as session:
        one = select(Subscription.id).limit(1).scalar_subquery()
        held = update(Subscription).where(Subscription.id == one)
        session.execute(held.values(hold_until=now_of(session) + HOUR))
    hold, failures = ServiceHealth.hold, iter([OperationalError("UPDATE", {}, ConnectionError())])

    def fail_once(health: ServiceHealth, push_service: str, now: datetime) -> datetime | None:
        for failure in failures:
            raise failure
        return hold(health, push_service, now)

    monkeypatch.setattr(ServiceHealth, "hold", fail_once)
    alert = newsroom.release()

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "waiting": 1}


def test_a_worker_outlives_a_database_that_stays_away(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.batch_run.LEASE_TO_SPARE", timedelta(seconds=0.5))
    newsroom.opt_in(200)
    alert = newsroom.release()
    ledger = Broken(newsroom.db, "checkpoint", range(1, 1000))
    ledger._lease = timedelta(seconds=1)
    delivery = newsroom.worker(ledger)

    newsroom.deliver(delivery, keep_going=lambda: ledger.failed < 8)  # it is told to leave then
    assert ledger.failed > 1
    assert newsroom.counts(alert.id) == {"audience": 200, "waiting": 200}

    ledger._away = range(0)
    newsroom.deliver_until_over(alert, delivery=delivery)
    assert newsroom.counts(alert.id) == {"audience": 200, "accepted": 200}
    assert newsroom.control.report()["lost"] == 0


def test_a_database_that_is_away_for_longer_than_the_lease_makes_no_duplicates(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.batch_run.LEASE_TO_SPARE", timedelta(seconds=0.5))
    newsroom.opt_in(200)
    alert = newsroom.release()
    away_until: list[float] = []

    class Away(Ledger):
        """The database goes away with the first checkpoint, for two leases."""

        def checkpoint(self, leases: Any) -> list[Lease]:
            if not away_until:
                away_until.append(time.monotonic() + 2)
            self._look()
            return super().checkpoint(leases)

        def claim(self, **options: Any) -> Lease | None:
            self._look()
            return super().claim(**options)

        def finish(self, lease: Lease, **options: Any) -> None:
            self._look()
            super().finish(lease, **options)

        def _look(self) -> None:
            if away_until and time.monotonic() < away_until[0]:
                raise OperationalError("UPDATE", {}, ConnectionError("away"))

    worker = newsroom.worker(Away(newsroom.db, lease=timedelta(seconds=1)))
    newsroom.deliver_until_over(alert, delivery=worker)

    assert newsroom.counts(alert.id) == {"audience": 200, "accepted": 200}
    report = newsroom.control.report()
    assert report["lost"] == report["duplicates"] == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_who_was_frozen_in_a_transaction_goes_on_with_what_it_has_in_hand(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(300)
    alert = newsroom.release()
    monkeypatch.setattr("notifier.db.IDLE_IN_TRANSACTION_MS", 1000)
    newsroom.db.engine.dispose()
    calls = 0

    def freeze_the_second_time(session: Session, **options: Any) -> list[int]:
        nonlocal calls
        calls += 1
        found = candidates(session, **options)
        if calls == 2:
            time.sleep(2)
            session.execute(text("SELECT 1"))
        return found

    candidates = backlog.candidates
    monkeypatch.setattr(backlog, "candidates", freeze_the_second_time)
    worker = newsroom.worker(Ledger(newsroom.db, batch_size=100))
    newsroom.deliver_until_over(alert, delivery=worker)

    assert calls > 2
    assert newsroom.counts(alert.id) == {"audience": 300, "accepted": 300}
    assert {batch.last_error for batch in newsroom.batches(alert.id)} == {None}
    assert newsroom.control.report()["duplicates"] == 0


def test_who_comes_back_first_after_an_outage_leaves_others_the_time_to_record_what_they_sent(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(50)
    alert = newsroom.release()
    ledger = Ledger(newsroom.db)
    plan_all(ledger)
    assert ledger.claim() is not None
    (batch,) = newsroom.batches(alert.id)
    with newsroom.changing(batch) as row:
        row.lease_until -= HOUR  # the outage was longer than the lease
    worker = newsroom.worker(Broken(newsroom.db, "claim", range(1, 2)))

    newsroom.deliver(worker)
    newsroom.deliver(worker)
    assert newsroom.control.report()["requests"] == 0

    monkeypatch.setattr("notifier.delivery.TAKES_OVER_AFTER", timedelta(0))
    newsroom.deliver(worker)
    assert newsroom.control.report()["requests"] == 50, "its holder does not come back"


# Rows and code


def test_a_row_that_cannot_be_sent_to_is_rejected_and_hurts_nobody_else(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(5)
    alert = newsroom.release()
    with newsroom.db.write() as session:
        rows = session.scalars(select(Subscription).order_by(Subscription.id)).all()
        rows[0].p256dh = b"\x04" + bytes(64)
        rows[1].endpoint = "http://127.0.0.1:1/metadata"

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 5, "accepted": 3, "rejected": 2}


def test_a_crash_gives_the_batch_back_and_keeps_what_was_sent(newsroom: Newsroom) -> None:
    newsroom.opt_in(300)
    alert = newsroom.release()

    def crash() -> bool:
        if newsroom.control.report()["accepted"]:
            raise RuntimeError("a bug")
        return True

    with pytest.raises(RuntimeError, match="a bug"):
        newsroom.deliver(keep_going=crash)

    sent = newsroom.control.report()["accepted"]
    assert 0 < sent < 300
    assert newsroom.counts(alert.id) == {"audience": 300, "accepted": sent, "waiting": 300 - sent}
    (batch,) = newsroom.batches(alert.id)
    assert batch.lease_until is None
    assert batch.last_error == "RuntimeError: a bug"
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert newsroom.control.report()["duplicates"] == 0
    assert newsroom.counts(alert.id) == {"audience": 300, "accepted": 300}


def damage_list(batch: Batch, session: Session) -> None:
    session.execute(
        update(BatchMembers).where(BatchMembers.batch_id == batch.id).values(subscription_ids=[])
    )


def settle_without_a_bit(batch: Batch, _session: Session) -> None:
    batch.accepted, batch.waiting = 2, batch.waiting - 2


def set_a_bit_without_settling(batch: Batch, _session: Session) -> None:
    batch.settled_bits = 1


@pytest.mark.parametrize("damage", [damage_list, settle_without_a_bit, set_a_bit_without_settling])
def test_a_damaged_batch_fails_after_five_claims_and_no_other_with_it(
    newsroom: Newsroom, damage: Callable[[Batch, Session], None]
) -> None:
    newsroom.opt_in(3)
    wrong = newsroom.release("Wrong")
    newsroom.deliver()
    alert = newsroom.release("Another story")
    plan_all(newsroom.ledger)
    with newsroom.db.write() as session:
        damage(session.get_one(Batch, newsroom.batches(alert.id)[0].id), session)
    waiting = newsroom.counts(alert.id)["waiting"]
    # It goes first, and so is in hand whenever the damaged one is claimed.
    correction = newsroom.release("Right", kind=AlertKind.CORRECTION, story_id=wrong.story_id)
    plan_all(newsroom.ledger)

    for _ in range(MOST_FUTILE_CLAIMS):
        newsroom.skip_waiting(alert)
        newsroom.deliver()

    assert newsroom.counts(correction.id) == {"audience": 3, "accepted": 3}
    assert newsroom.counts(alert.id)["failed"] == waiting
    assert newsroom.alert(alert.id).state == AlertState.FINISHED
    assert "damaged" in str(newsroom.batches(alert.id)[0].last_error)


def test_a_batch_whose_members_are_lost_fails_and_hurts_no_other(newsroom: Newsroom) -> None:
    """Reading it crashes the claim, which is before anybody could give it back."""
    alert = release_in_three_batches(newsroom)
    damaged = newsroom.batches(alert.id)[0]
    with newsroom.db.write() as session:
        session.execute(delete(BatchMembers).where(BatchMembers.batch_id == damaged.id))

    deliver_in_spite_of_crashes(newsroom)

    assert newsroom.counts(alert.id) == {"audience": 60, "accepted": 40, "failed": 20}
    assert newsroom.batch(damaged.id).last_error is not None
    newsroom.ledger.tidy()
    assert newsroom.alert(alert.id).state == AlertState.FINISHED


def test_a_batch_whose_pauses_are_damaged_fails_and_hurts_no_other(newsroom: Newsroom) -> None:
    alert = release_in_three_batches(newsroom)
    with newsroom.changing(newsroom.batches(alert.id)[0]) as row:
        row.holds = [1]

    deliver_in_spite_of_crashes(newsroom)

    assert newsroom.counts(alert.id) == {"audience": 60, "accepted": 40, "failed": 20}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("column", ["holds", "seconds_to_accept"])
def test_a_batch_whose_row_holds_no_json_fails_and_hurts_no_other(
    newsroom: Newsroom, column: str
) -> None:
    """PostgreSQL stores nothing that is no JSON."""
    alert = release_in_three_batches(newsroom)
    damaged = newsroom.batches(alert.id)[0]
    with newsroom.db.write() as session:
        broken = {column: literal_column("'{'")}
        session.execute(update(Batch).where(Batch.id == damaged.id).values(broken))

    deliver_in_spite_of_crashes(newsroom)

    assert newsroom.counts(alert.id) == {"audience": 60, "accepted": 40, "failed": 20}
    assert newsroom.batch(damaged.id).last_error is not None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE batches SET settled_bits = 'text' WHERE id = :id",
        "UPDATE batches SET claim_token = 'x', lease_until = '0' WHERE id = :id",
        "UPDATE batches SET futile_claims = 'text' WHERE id = :id",
    ],
)
def test_a_batch_whose_row_cannot_be_read_fails_and_hurts_no_other(
    newsroom: Newsroom, damage: str
) -> None:
    """PostgreSQL stores nothing of another type."""
    alert = release_in_three_batches(newsroom)
    damaged = newsroom.batches(alert.id)[0]
    with newsroom.db.write() as session:
        session.execute(text(damage), {"id": damaged.id})

    newsroom.deliver()

    with newsroom.db.read() as session:  # by columns: the row still cannot be read
        query = select(Batch.accepted, Batch.failed, Batch.is_open).order_by(Batch.id)
        settled = [tuple(row) for row in session.execute(query)]
    assert settled == [(0, 20, False), (20, 0, False), (20, 0, False)]
    newsroom.ledger.tidy()
    assert newsroom.alert(alert.id).state == AlertState.FINISHED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_alert_whose_row_cannot_be_read_fails_after_five_claims_and_hurts_no_other(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(3)
    damaged, alert = newsroom.release(), newsroom.release("Another")
    plan_all(newsroom.ledger)
    with newsroom.db.write() as session:
        nonsense = text("UPDATE alerts SET closing_as = 'nonsense' WHERE id = :id")
        session.execute(nonsense, {"id": damaged.id})

    newsroom.deliver()

    [batch] = newsroom.batches(damaged.id)
    assert (batch.futile_claims, batch.failed) == (1, 0)
    assert newsroom.counts(alert.id) == {"audience": 3, "accepted": 3}
    for _ in range(MOST_FUTILE_CLAIMS - 1):
        with newsroom.changing(batch) as row:
            row.not_before -= HOUR
        newsroom.deliver()
    [batch] = newsroom.batches(damaged.id)
    assert batch.failed == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_row_whose_text_is_damaged_is_rejected_alone(newsroom: Newsroom) -> None:
    """To SQLite's driver that is an OperationalError, like a file that cannot be opened."""
    newsroom.opt_in(3)
    with newsroom.db.write() as session:
        session.execute(
            text("UPDATE subscriptions SET endpoint = CAST(x'68747470ff' AS TEXT) WHERE id = 2")
        )
    alert = newsroom.release()

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 3, "accepted": 2, "rejected": 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_alert_whose_row_cannot_be_read_keeps_no_other_from_its_end(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1)
    damaged = newsroom.release()
    alert = newsroom.release("Another", validity=timedelta(0))
    with newsroom.db.write() as session:
        nonsense = text("UPDATE alerts SET closing_as = 'nothing' WHERE id = :id")
        session.execute(nonsense, {"id": damaged.id})

    with pytest.raises(LookupError):  # so that ops are told
        newsroom.ledger.tidy()

    assert newsroom.alert(alert.id).state != AlertState.RELEASED


def test_a_crash_while_settling_keeps_what_other_batches_have_sent(newsroom: Newsroom) -> None:
    alert = release_in_three_batches(newsroom)
    with newsroom.changing(newsroom.batches(alert.id)[0]) as row:
        row.seconds_to_accept = {str(bucket): "x" for bucket in range(500)}

    deliver_in_spite_of_crashes(newsroom)

    report = newsroom.control.report()
    assert report["accepted_readers"] == 60
    assert report["duplicates"] == 0


def release_in_three_batches(newsroom: Newsroom) -> Alert:
    """An alert for sixty readers, planned in batches of twenty."""
    newsroom.opt_in(60)
    alert = newsroom.release()
    plan_all(Ledger(newsroom.db, batch_size=20))
    return alert


def deliver_in_spite_of_crashes(newsroom: Newsroom) -> None:
    """Deliver as doorbells have workers do, as often as a batch may crash them, and once more.

    Between the times, leases end and pauses are over.
    """
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    for _ in range(3 * MOST_FUTILE_CLAIMS):
        with newsroom.db.write() as session:
            session.execute(update(Batch).values(not_before=long_ago))
            held = Batch.lease_until.is_not(None)
            session.execute(update(Batch).where(held).values(lease_until=long_ago))
        with suppress(Exception):
            newsroom.deliver()

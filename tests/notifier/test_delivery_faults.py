"""Faults that come together, or last for longer than anybody plans for."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from newsroom import Newsroom
from publication import HOUR
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from notifier import push_services
from notifier.db import now_of
from notifier.ledger import Lease, Ledger
from notifier.models import Alert, AlertState, OpenBreaker, Subscription
from notifier.push import Rejected

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def let_probe(newsroom: Newsroom, alert: Alert) -> None:
    with newsroom.db.write() as session:
        session.execute(update(OpenBreaker).values(probe_at=now_of(session) - HOUR))
    newsroom.skip_waiting(alert)


def open_it(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        push_services.open_breaker(session, newsroom.control.origin, "test")


def newest(newsroom: Newsroom) -> int:
    with newsroom.db.read() as session:
        return session.scalars(select(Subscription.id).order_by(Subscription.id.desc())).first()


@SQLITE
def test_a_probe_that_could_not_be_sent_is_not_the_last_one(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    with newsroom.db.write() as session:
        session.execute(
            update(Subscription)
            .where(Subscription.id == newest(newsroom))
            .values(p256dh=b"\4" + bytes(64))
        )
    open_it(newsroom)
    alert = newsroom.release()
    for _ in range(3):
        let_probe(newsroom, alert)
        newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "rejected": 1}


@SQLITE
def test_a_probe_that_was_too_large_is_not_the_last_one(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    open_it(newsroom)
    newsroom.control.set_faults([{"status": 413}])
    alert = newsroom.release()
    let_probe(newsroom, alert)
    newsroom.deliver()
    newsroom.control.set_faults([])
    other = newsroom.release("Another story")
    for _ in range(3):
        let_probe(newsroom, other)
        newsroom.deliver()
    assert newsroom.counts(other.id) == {"audience": 20, "accepted": 20}


@SQLITE
def test_one_reader_who_is_always_refused_does_not_keep_a_breaker_open(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(20)
    refused = newest(newsroom)
    poll = newsroom.sender.poll

    def refuse_one(*options: Any) -> list[tuple[Any, Any]]:
        return [
            (token, Rejected(403) if token[1].subscription_id == refused else outcome)
            for token, outcome in poll(*options)
        ]

    monkeypatch.setattr(newsroom.sender, "poll", refuse_one)
    open_it(newsroom)
    alert = newsroom.release()
    for _ in range(12):
        let_probe(newsroom, alert)
        newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "rejected": 1}


@SQLITE
@pytest.mark.parametrize(
    "poison",
    [
        "UPDATE batches SET holds = '[1]' WHERE id = :id",
        "DELETE FROM batch_members WHERE batch_id = :id",
    ],
)
def test_a_batch_that_crashes_its_claim_fails_after_five_and_hurts_no_other(
    newsroom: Newsroom, poison: str
) -> None:
    newsroom.opt_in(60)
    alert = newsroom.release()
    ledger = Ledger(newsroom.db, batch_size=20)
    while ledger.plan():
        pass
    first = newsroom.batches(alert.id)[0]
    with newsroom.db.write() as session:
        session.execute(text(poison), {"id": first.id})
    worker = newsroom.worker(ledger)
    for _ in range(30):
        with newsroom.db.write() as session:  # two seconds later
            session.execute(text("UPDATE batches SET not_before = '2020-01-01 00:00:00.000000'"))
        try:
            newsroom.deliver(worker)
        except Exception as error:
            print(type(error), error)
    assert newsroom.counts(alert.id) == {"audience": 60, "accepted": 40, "failed": 20}
    newsroom.ledger.tidy()
    assert newsroom.alert(alert.id).state == AlertState.FINISHED


@SQLITE
def test_a_crash_while_settling_keeps_what_other_batches_have_sent(newsroom: Newsroom) -> None:
    newsroom.opt_in(60)
    alert = newsroom.release()
    ledger = Ledger(newsroom.db, batch_size=20)
    while ledger.plan():
        pass
    first = newsroom.batches(alert.id)[0]
    with newsroom.changing(first) as row:
        row.seconds_to_accept = {str(bucket): "x" for bucket in range(-5, 500)}
    worker = newsroom.worker(ledger)
    for _ in range(30):
        with newsroom.db.write() as session:  # the leases' time is over, and all pauses
            session.execute(
                text(
                    "UPDATE batches SET not_before = '2020-01-01 00:00:00.000000', lease_until ="
                    " CASE WHEN lease_until IS NULL THEN NULL ELSE '2020-01-01 00:00:00.000000' END"
                )
            )
        try:
            newsroom.deliver(worker)
        except Exception as error:
            print(type(error), error)
    assert newsroom.control.report()["duplicates"] == 0
    assert sum(batch.accepted for batch in newsroom.batches(alert.id)) == 60


@SQLITE
def test_a_database_that_is_away_for_longer_than_the_lease_makes_no_duplicates(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.delivery.LEASE_TO_SPARE", timedelta(seconds=0.5))
    newsroom.opt_in(200)
    alert = newsroom.release()

    began: list[float] = []

    class Away(Ledger):
        def _look(self) -> None:
            if began and time.monotonic() - began[0] < 2:
                raise OperationalError("UPDATE", {}, ConnectionError("away"))

        def checkpoint(self, leases: Any) -> list[Lease]:
            began.append(time.monotonic())
            self._look()
            return super().checkpoint(leases)

        def claim(self) -> Lease | None:
            self._look()
            return super().claim()

        def finish(self, lease: Lease, **options: Any) -> None:
            self._look()
            super().finish(lease, **options)

    ledger = Away(newsroom.db, lease=timedelta(seconds=1))
    worker = newsroom.worker(ledger)
    while newsroom.alert(alert.id).state != AlertState.FINISHED:
        newsroom.deliver(worker)
        time.sleep(0.1)
    report = newsroom.control.report()
    assert report["lost"] == 0
    assert report["duplicates"] == 0


@SQLITE
def test_a_date_in_retry_after_counts_by_the_ledgers_clock(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(20)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    newsroom.control.set_faults([{"status": 429, "share": 0.5, "retry_after": date}])
    newsroom.release()

    class Fast(datetime):  # the worker's wall clock is ten minutes fast
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(minutes=10)

    monkeypatch.setattr("notifier.push.sender.datetime", Fast)
    newsroom.deliver()
    with newsroom.db.read() as session:
        holds = session.scalars(
            select(Subscription.hold_until).where(Subscription.hold_until.is_not(None))
        ).all()
        now = now_of(session)
    assert holds
    assert all(hold - now > timedelta(minutes=4) for hold in holds), holds


@SQLITE
def test_what_our_own_backoff_holds_is_tried_until_the_alert_expires(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.delivery.random.uniform", lambda *_: 1.0)
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release(validity=timedelta(seconds=30))
    newsroom.ledger.plan()
    for batch in newsroom.batches(alert.id):
        with newsroom.changing(batch) as row:
            row.rounds = 6  # it has failed for a minute or two
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 5, "waiting": 5}, "25 s are left"


@SQLITE
def test_ttl_shrinks_by_the_time_already_spent(newsroom: Newsroom) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    alert = newsroom.release(validity=HOUR)
    with newsroom.changing(newsroom.alert(alert.id)) as row:
        row.released_at -= HOUR / 2
        row.expires_at -= HOUR / 2
    newsroom.deliver()
    (message,) = newsroom.control.messages(browser.endpoint.url)
    assert 29 * 60 < message["ttl"] <= 30 * 60


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_frozen_process_does_not_hold_up_the_others_by_its_locks(newsroom: Newsroom) -> None:
    """SIGSTOP, or a host cut off from the network, in the middle of a transaction."""
    newsroom.opt_in(5)
    alert = newsroom.release()
    frozen = newsroom.db.write()
    session = frozen.__enter__()
    session.execute(select(Alert.id).where(Alert.id == alert.id).with_for_update())
    started = time.monotonic()
    other = threading.Thread(target=newsroom.ledger.plan)
    other.start()
    other.join(25)
    took = time.monotonic() - started
    stuck = other.is_alive()
    with suppress(Exception):
        frozen.__exit__(None, None, None)
    other.join()
    assert not stuck, f"still waits after {took:.0f} s"

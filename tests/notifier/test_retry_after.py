"""Retry-After holds for the endpoint that it was said of: for every alert, and every process."""

from datetime import UTC, datetime, timedelta, tzinfo
from email.utils import format_datetime

import pytest
from ledger_steps import claimed
from newsroom import Newsroom
from publication import HOUR, proof_of
from sqlalchemy import func, select, update

from notifier import subscriptions
from notifier.db import now_of
from notifier.endpoints import endpoint_hash
from notifier.models import AlertKind, Subscription

LONGEST_PAUSE_AFTER_ONE_FAILURE = timedelta(seconds=2 * 1.5)


def test_an_alert_that_another_process_sends_waits_too(newsroom: Newsroom) -> None:
    newsroom.opt_in(50)
    throttled = throttle(newsroom, share=0.3, seconds=2)
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id)["waiting"] == throttled

    other = newsroom.release("Another story")
    newsroom.deliver(newsroom.worker(newsroom.ledger))
    assert newsroom.counts(other.id)["waiting"] == throttled

    newsroom.deliver_until_over(alert, other)
    assert newsroom.control.report()["early"] == 0


def test_what_is_not_recorded_yet_holds_for_this_process_at_least(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    throttled = throttle(newsroom, share=0.3, seconds=600)
    newsroom.release()
    newsroom.deliver()
    with newsroom.db.write() as session:
        session.execute(update(Subscription).values(hold_until=None))

    other = newsroom.release("Another story")
    newsroom.deliver()

    assert newsroom.counts(other.id)["waiting"] == throttled


def test_who_has_moved_to_another_endpoint_does_not_wait_for_the_old_one(
    newsroom: Newsroom,
) -> None:
    (old_place,) = newsroom.opt_in(1)
    throttle(newsroom, share=1, seconds=600)
    newsroom.release()
    newsroom.deliver()
    (new_place,) = newsroom.browsers(1)
    newsroom.control.set_faults([])
    with newsroom.db.write() as session:
        subscriptions.opt_in(session, new_place, old=proof_of(old_place))

    other = newsroom.release("Another story")
    newsroom.deliver()

    assert newsroom.counts(other.id) == {"audience": 1, "accepted": 1}


def test_a_pause_that_is_recorded_after_a_reader_has_moved_is_not_for_the_new_endpoint(
    newsroom: Newsroom,
) -> None:
    (old_place,) = newsroom.opt_in(1)
    newsroom.release()
    newsroom.ledger.plan()
    lease = claimed(newsroom.ledger)
    asked = lease.now() + HOUR
    lease.findings.hold(lease.ids[0], endpoint_hash(old_place.endpoint.url), asked)
    (new_place,) = newsroom.browsers(1)
    with newsroom.db.write() as session:
        subscriptions.opt_in(session, new_place, old=proof_of(old_place))

    newsroom.ledger.finish(lease)

    subscription = newsroom.subscription(lease.ids[0])
    assert subscription is not None
    assert subscription.hold_until is None


def test_a_correction_waits_too(newsroom: Newsroom) -> None:
    newsroom.opt_in(50)
    first = newsroom.release()
    newsroom.deliver()
    throttled = throttle(newsroom, share=0.3, seconds=2)
    newsroom.release("Both bridges closed", story_id=first.story_id)
    newsroom.deliver()

    correction = newsroom.release("Not closed", story_id=first.story_id, kind=AlertKind.CORRECTION)
    newsroom.deliver(newsroom.worker(newsroom.ledger))
    counts = newsroom.counts(correction.id)
    assert counts == {"audience": 50, "accepted": 50 - throttled, "waiting": throttled}

    newsroom.deliver_until_over(correction)
    assert newsroom.counts(correction.id) == {"audience": 50, "accepted": 50}
    assert newsroom.control.report()["early"] == 0


def test_pauses_do_not_grow_while_the_push_service_says_when(newsroom: Newsroom) -> None:
    newsroom.opt_in(1)
    newsroom.control.set_faults([{"status": 429, "retry_after": "1"}])
    alert = newsroom.release()
    for _ in range(6):
        newsroom.skip_waiting(alert)
        newsroom.deliver()
    newsroom.control.set_faults([{"status": 503}])
    newsroom.skip_waiting(alert)
    newsroom.deliver()

    (batch,) = newsroom.batches(alert.id)
    with newsroom.db.read() as session:
        assert batch.not_before - now_of(session) < LONGEST_PAUSE_AFTER_ONE_FAILURE


def test_a_503_that_says_when_counts_as_well(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    newsroom.control.set_faults([{"status": 503, "retry_after": "600"}])
    newsroom.release()
    newsroom.deliver()
    newsroom.control.set_faults([])

    other = newsroom.release("Another story")
    newsroom.deliver(newsroom.worker(newsroom.ledger))

    assert newsroom.counts(other.id) == {"audience": 20, "waiting": 20}


def test_only_who_is_held_waits(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    hold_one(newsroom, HOUR)
    alert = newsroom.release()

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "waiting": 1}


def test_who_is_held_until_after_the_alert_is_expired_at_once(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    hold_one(newsroom, 2 * HOUR)
    alert = newsroom.release(validity=HOUR)

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "expired": 1}


def test_a_shorter_pause_that_is_told_later_does_not_end_a_longer_one(newsroom: Newsroom) -> None:
    newsroom.opt_in(1)
    newsroom.release()
    newsroom.ledger.plan()
    lease = claimed(newsroom.ledger)
    hold_one(newsroom, HOUR)

    subscription = newsroom.subscription(lease.ids[0])
    assert subscription is not None
    soon = lease.now() + timedelta(seconds=2)
    lease.findings.hold(subscription.id, subscription.endpoint_hash, soon)
    newsroom.ledger.finish(lease)

    subscription = newsroom.subscription(lease.ids[0])
    assert subscription is not None
    assert subscription.hold_until is not None
    assert subscription.hold_until > lease.now() + HOUR / 2


def test_a_date_counts_by_the_ledgers_clock(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(20)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    newsroom.control.set_faults([{"status": 429, "share": 0.5, "retry_after": date}])
    newsroom.release()

    class TenMinutesFast(datetime):
        """The wall clock of this worker's host."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(minutes=10)

    monkeypatch.setattr("notifier.push.sender.datetime", TenMinutesFast)
    newsroom.deliver()

    with newsroom.db.read() as session:
        holds = session.scalars(select(Subscription.hold_until)).all()
        now = now_of(session)
    held = [until - now for until in holds if until is not None]
    assert held
    assert min(held) > timedelta(minutes=4)


def throttle(newsroom: Newsroom, *, share: float, seconds: int) -> int:
    """Answer 429 once to a share of the readers; gives how many that will be."""
    newsroom.control.set_faults(
        [{"status": 429, "share": share, "times": 1, "retry_after": str(seconds)}]
    )
    count: int = newsroom.control.faults()[0]["count"]
    assert count > 0
    return count


def hold_one(newsroom: Newsroom, pause: timedelta) -> None:
    """Have it that a push service has asked for a pause, of the first reader."""
    with newsroom.db.write() as session:
        first = select(func.min(Subscription.id)).scalar_subquery()
        session.execute(
            update(Subscription)
            .where(Subscription.id == first)
            .values(hold_until=now_of(session) + pause)
        )

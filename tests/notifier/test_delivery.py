"""Delivery through the real sender to a local push service."""

import json
from datetime import timedelta
from typing import Any

import pytest
from newsroom import APPEARANCE, Newsroom
from publication import HOUR
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from notifier import subscriptions
from notifier.db import Database, now_of
from notifier.delivery import LONGEST_UNSAVED, Delivery
from notifier.ledger import MOST_FUTILE_CLAIMS, Lease, Ledger
from notifier.models import Alert, AlertKind, AlertState, BatchMembers, Level, Subscription
from notifier.notification import render
from notifier.subscriptions import BrowserSubscription, Pause, Proof

LONG = timedelta(seconds=60)


def proof_of(browser: BrowserSubscription) -> Proof:
    return Proof(endpoint=browser.endpoint.url, p256dh=browser.p256dh, auth=browser.auth)


def test_every_reader_gets_the_alert_once(newsroom: Newsroom) -> None:
    newsroom.opt_in(2500)
    alert = newsroom.release()

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 2500, "accepted": 2500}
    assert newsroom.alert(alert.id).state == AlertState.FINISHED
    report = newsroom.control.report()
    assert report["accepted"] == report["accepted_readers"] == report["requests"] == 2500
    assert report["lost"] == 0
    assert report["vapid_failures"] == report["body_failures"] == 0
    assert report["reused_keys"] == report["reused_salts"] == 0
    assert report["sample"]["decrypted"] > 0
    assert report["sample"]["failed"] == 0
    assert report["topics"] == [f"story-{alert.story_id}"]


def test_a_reader_decrypts_what_was_rendered(newsroom: Newsroom) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    alert = newsroom.release("Brücke gesperrt 🚧", body="Bis auf Weiteres.")

    newsroom.deliver()

    (message,) = newsroom.control.messages(browser.endpoint.url)
    assert message["error"] is None
    assert json.loads(message["data"]) == json.loads(render(alert, APPEARANCE))
    assert HOUR - timedelta(minutes=1) <= timedelta(seconds=message["ttl"]) <= HOUR
    assert message["urgency"] == "high"
    assert message["topic"] == f"story-{alert.story_id}"


def test_exactly_those_whose_endpoints_are_no_more_are_deactivated(newsroom: Newsroom) -> None:
    newsroom.opt_in(600)
    newsroom.control.set_faults([{"status": 410, "share": 0.1}])
    (rule,) = newsroom.control.faults()
    alert = newsroom.release()

    newsroom.deliver()

    gone = rule["count"]
    assert newsroom.counts(alert.id) == {"audience": 600, "accepted": 600 - gone, "gone": gone}
    with newsroom.db.read() as session:
        query = select(Subscription.endpoint).where(Subscription.gone_at.is_not(None))
        assert sorted(session.scalars(query)) == sorted(rule["endpoints"])

    newsroom.control.begin_wave()
    second = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(second.id) == {"audience": 600 - gone, "accepted": 600 - gone}
    assert newsroom.control.report()["requests"] == 600 - gone


def test_retry_after_is_obeyed_and_the_rest_delivered(newsroom: Newsroom) -> None:
    newsroom.opt_in(100)
    newsroom.control.set_faults([{"status": 429, "share": 0.3, "retry_after": "2", "times": 1}])
    (rule,) = newsroom.control.faults()
    alert = newsroom.release()

    newsroom.deliver()
    counts = newsroom.counts(alert.id)
    assert counts == {"audience": 100, "accepted": 100 - rule["count"], "waiting": rule["count"]}
    newsroom.deliver()
    assert newsroom.counts(alert.id) == counts, "it is too early for another try"

    deliver_until(newsroom, alert, AlertState.FINISHED)
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 100}
    report = newsroom.control.report()
    assert report["early"] == 0
    assert report["duplicates"] == report["lost"] == 0
    assert report["requests"] == 100 + rule["count"]


def test_readers_of_a_failing_push_service_are_tried_again(newsroom: Newsroom) -> None:
    newsroom.opt_in(50)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release()

    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 50, "waiting": 50}
    (batch,) = newsroom.batches(alert.id)
    assert batch.rounds == 1
    assert batch.futile_claims == 0
    with newsroom.db.read() as session:
        assert batch.not_before > now_of(session) - timedelta(seconds=1)

    newsroom.control.set_faults([])
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 50, "accepted": 50}
    assert newsroom.control.report()["duplicates"] == 0


def test_a_pause_longer_than_the_alert_is_valid_settles_as_expired(newsroom: Newsroom) -> None:
    newsroom.opt_in(10)
    newsroom.control.set_faults([{"status": 429, "retry_after": "3700"}])
    alert = newsroom.release(validity=HOUR)

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 10, "expired": 10}
    assert newsroom.alert(alert.id).state == AlertState.FINISHED


def test_an_alert_that_expires_while_its_batch_is_held_goes_to_nobody_else(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(10)
    alert = newsroom.release()
    newsroom.ledger.plan()

    class Late(Ledger):
        def claim(self) -> Lease | None:
            lease = super().claim()
            if lease is not None:
                lease.alert.expires_at = lease.now()
            return lease

    newsroom.deliver(newsroom.worker(Late(newsroom.db)))

    assert newsroom.counts(alert.id) == {"audience": 10, "expired": 10}
    assert newsroom.control.report()["requests"] == 0


def test_an_alert_that_is_stopped_in_mid_delivery_goes_to_nobody_else(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1500)
    alert = newsroom.release()

    class Stopping(Ledger):
        def checkpoint(self, leases: Any) -> list[Lease]:
            is_released = newsroom.alert(alert.id).state == AlertState.RELEASED
            if is_released and sum(lease.counts["accepted"] for lease in leases) >= 50:
                newsroom.stop(alert.id)
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Stopping(newsroom.db)))

    counts = newsroom.counts(alert.id)
    assert newsroom.alert(alert.id).state == AlertState.STOPPED
    assert set(counts) == {"audience", "accepted", "stopped"}
    assert counts["audience"] == 1500
    assert 50 <= counts["accepted"] < 1000
    assert newsroom.control.report()["accepted"] == counts["accepted"]


def test_a_worker_that_loses_its_lease_stops_and_the_next_one_loses_nobody(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1000)
    alert = newsroom.release()
    stolen: list[Lease] = []

    class Robbed(Ledger):
        """Another worker takes the batch, as after a long sleep of this one."""

        def checkpoint(self, leases: Any) -> list[Lease]:
            if not stolen:
                (batch,) = newsroom.batches(alert.id)
                with newsroom.changing(batch) as row:
                    row.lease_until -= HOUR
                stolen.append(newsroom.ledger.claim())
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Robbed(newsroom.db)))

    sent = newsroom.control.report()["requests"]
    assert 50 <= sent < 1000, "it goes on only with what was in flight"
    assert newsroom.counts(alert.id) == {"audience": 1000, "waiting": 1000}
    newsroom.ledger.finish(stolen[0])
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 1000, "accepted": 1000}
    assert newsroom.control.report()["lost"] == 0


def test_however_long_a_checkpoint_takes_the_next_one_follows_within_half_a_second(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"delay": 3}])
    alert = newsroom.release()
    clock = [1000.0]
    monkeypatch.setattr("notifier.delivery.boot_time", lambda: clock[0])
    monkeypatch.setattr("notifier.ledger.boot_time", lambda: clock[0])
    ends = [clock[0]]
    gaps: list[float] = []

    class Slow(Ledger):
        def checkpoint(self, leases: Any) -> list[Lease]:
            gaps.append(clock[0] - ends[-1])
            clock[0] += 1
            ends.append(clock[0])
            return super().checkpoint(leases)

    def a_tenth_of_a_second_later() -> bool:
        clock[0] += 0.1
        return True

    newsroom.deliver(newsroom.worker(Slow(newsroom.db)), keep_going=a_tenth_of_a_second_later)

    assert newsroom.counts(alert.id) == {"audience": 5, "accepted": 5}
    assert len(gaps) > 1
    assert max(gaps) < (LONGEST_UNSAVED + timedelta(seconds=0.15)).total_seconds()


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

    def claim(self) -> Lease | None:
        self._count("claim")
        return super().claim()

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


def test_a_worker_outlives_a_database_that_stays_away(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.delivery.LEASE_TO_SPARE", timedelta(seconds=0.5))
    newsroom.opt_in(200)
    alert = newsroom.release()
    ledger = Broken(newsroom.db, "checkpoint", range(1, 1000))
    ledger._lease = timedelta(seconds=1)
    delivery = newsroom.worker(ledger)

    newsroom.deliver(delivery, keep_going=lambda: ledger.failed < 8)  # it is told to leave then
    assert ledger.failed > 1
    assert newsroom.counts(alert.id) == {"audience": 200, "waiting": 200}

    ledger._away = range(0)
    deliver_until(newsroom, alert, AlertState.FINISHED, delivery)
    assert newsroom.counts(alert.id) == {"audience": 200, "accepted": 200}
    assert newsroom.control.report()["lost"] == 0


def test_who_opts_out_or_renews_between_planning_and_delivery(newsroom: Newsroom) -> None:
    leaving, moving, _ = newsroom.opt_in(3)
    (new_place,) = newsroom.browsers(1, keep=True)
    alert = newsroom.release()
    newsroom.ledger.plan()
    with newsroom.db.write() as session:
        subscriptions.opt_out(session, proof_of(leaving))
        subscriptions.opt_in(session, new_place, old=proof_of(moving))

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 3, "accepted": 2, "left": 1}
    assert len(newsroom.control.messages(new_place.endpoint.url)) == 1
    assert newsroom.control.report()["requests"] == 2


def test_what_readers_choose_between_planning_and_delivery_counts_but_for_corrections(
    newsroom: Newsroom,
) -> None:
    pausing, muting, demanding, _ = newsroom.opt_in(4)
    first = newsroom.release()
    newsroom.deliver()
    later = newsroom.release(story_id=first.story_id)
    newsroom.ledger.plan()
    with newsroom.db.write() as session:
        subscriptions.change(session, proof_of(pausing), pause=Pause.DAY)
        subscriptions.change(session, proof_of(muting), mute=first.story_id)
        subscriptions.change(session, proof_of(demanding), level=Level.BIGGEST)

    newsroom.deliver()
    assert newsroom.counts(later.id) == {"audience": 4, "accepted": 1, "left": 3}

    correction = newsroom.release(story_id=first.story_id, kind=AlertKind.CORRECTION)
    newsroom.deliver()
    assert newsroom.counts(correction.id) == {"audience": 4, "accepted": 4}


def test_who_has_gone_since_planning_has_left(newsroom: Newsroom) -> None:
    newsroom.opt_in(2)
    alert = newsroom.release()
    newsroom.ledger.plan()
    with newsroom.db.write() as session:
        first = select(func.min(Subscription.id)).scalar_subquery()
        session.execute(
            update(Subscription).where(Subscription.id == first).values(gone_at=now_of(session))
        )

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 2, "accepted": 1, "left": 1}


def test_a_late_410_does_not_deactivate_who_has_renewed_meanwhile(newsroom: Newsroom) -> None:
    (old_place,) = newsroom.opt_in(1)
    (new_place,) = newsroom.browsers(1)
    newsroom.control.set_faults([{"status": 410, "delay": 0.2}])
    alert = newsroom.release()

    class Renewing(Ledger):
        def finish(self, lease: Lease, **options: Any) -> None:
            with newsroom.db.write() as session:
                subscriptions.opt_in(session, new_place, old=proof_of(old_place))
            super().finish(lease, **options)

        def checkpoint(self, leases: Any) -> list[Lease]:
            return []  # so that the answer is first recorded at the end

    newsroom.deliver(newsroom.worker(Renewing(newsroom.db)))

    assert newsroom.counts(alert.id) == {"audience": 1, "gone": 1}
    assert newsroom.gone() == 0


def test_a_worker_that_is_told_to_leave_gives_back_the_rest(newsroom: Newsroom) -> None:
    newsroom.opt_in(500)
    newsroom.control.set_faults([{"status": 429, "share": 0.05, "retry_after": "600"}])
    alert = newsroom.release()
    rounds = iter(range(3))

    newsroom.deliver(keep_going=lambda: next(rounds, None) is not None)

    counts = newsroom.counts(alert.id)
    assert counts["waiting"] > 0
    assert counts.get("accepted", 0) == newsroom.control.report()["accepted"]
    assert newsroom.sender.in_flight == 0
    assert all(batch.lease_until is None for batch in newsroom.batches(alert.id))
    assert newsroom.ledger.due(9).batches == len(newsroom.batches(alert.id)), "at once"

    newsroom.control.set_faults([])
    newsroom.deliver()
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 500, "accepted": 500}
    assert newsroom.control.report()["duplicates"] == 0


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
    rounds = iter(range(2))

    def crash() -> bool:
        if next(rounds, None) is None:
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


def test_a_batch_whose_list_is_damaged_fails_instead_of_coming_back_for_ever(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(3)
    alert = newsroom.release()
    newsroom.ledger.plan()
    with newsroom.db.write() as session:
        session.execute(update(BatchMembers).values(subscription_ids=[]))

    for _ in range(MOST_FUTILE_CLAIMS):
        newsroom.skip_waiting(alert)
        with pytest.raises(ValueError, match="damaged"):
            newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 3, "failed": 3}
    assert newsroom.alert(alert.id).state == AlertState.FINISHED


def test_a_later_alert_of_the_story_replaces_the_earlier(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    earlier = newsroom.release()
    newsroom.ledger.plan()
    later = newsroom.release("Bridge open", story_id=earlier.story_id)

    newsroom.deliver()

    assert newsroom.counts(earlier.id) == {"audience": 20, "superseded": 20}
    assert newsroom.counts(later.id) == {"audience": 20, "accepted": 20}
    assert newsroom.control.report()["requests"] == 20


def deliver_until(
    newsroom: Newsroom, alert: Alert, state: AlertState, delivery: Delivery | None = None
) -> None:
    """Deliver again and again, as doorbells have workers do; pytest-timeout ends it."""
    while newsroom.alert(alert.id).state != state:
        newsroom.deliver(delivery)

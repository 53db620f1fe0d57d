"""Delivery through the real sender to a local push service."""

import json
from datetime import timedelta
from typing import Any

import pytest
from newsroom import APPEARANCE, Newsroom
from publication import HOUR, proof_of
from sqlalchemy import func, select, update

from notifier import subscriptions
from notifier.db import now_of
from notifier.ledger import Lease, Ledger
from notifier.models import AlertKind, AlertState, Level, Subscription
from notifier.notification import render
from notifier.push import sender
from notifier.subscriptions import Pause


@pytest.fixture
def prompt_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slow one the next would else wait, and everybody might have been sent to by then."""
    monkeypatch.setattr("notifier.checkpoints.SHARE", 0)


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


def test_who_is_to_be_encrypted_for_when_that_crashes_is_sent_to_later(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(300)
    alert = newsroom.release()

    def crash(_messages: object) -> list[bytes | None]:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(sender, "encrypt_all", crash)
        with pytest.raises(RuntimeError, match="a bug"):
            newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 300, "waiting": 300}
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 300, "accepted": 300}
    assert newsroom.control.report()["duplicates"] == 0


def test_the_first_messages_are_sent_and_others_called_before_all_are_planned(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1200)
    alert = newsroom.release()
    accepted_when_planning, planned_when_calling = [], []

    class Watched(Ledger):
        def plan(self) -> bool:
            accepted_when_planning.append(newsroom.control.report()["accepted"])
            return super().plan()

    delivery = newsroom.worker(Watched(newsroom.db, batch_size=110))
    newsroom.deliver(
        delivery,
        call_others=lambda: planned_when_calling.append(len(newsroom.batches(alert.id))),
    )

    first, second, *_ = accepted_when_planning
    assert first == 0
    assert second > 0
    assert planned_when_calling == [10], "of the eleven batches"
    assert newsroom.counts(alert.id) == {"audience": 1200, "accepted": 1200}


def test_an_audience_that_is_not_sent_to_any_more_is_counted_at_once(newsroom: Newsroom) -> None:
    newsroom.opt_in(25)
    alert = newsroom.release()
    newsroom.stop(alert.id)
    called: list[None] = []

    newsroom.deliver(
        newsroom.worker(Ledger(newsroom.db, batch_size=1)), call_others=lambda: called.append(None)
    )

    assert newsroom.alert(alert.id).state == AlertState.STOPPED
    assert newsroom.counts(alert.id) == {"audience": 25, "stopped": 25}
    assert called == [], "there is nothing for them"


def test_a_worker_that_is_told_to_leave_plans_no_further(newsroom: Newsroom) -> None:
    newsroom.opt_in(25)
    alert = newsroom.release()
    newsroom.stop(alert.id)
    answers = iter([True, True])  # to the loop, and before the first ten batches
    delivery = newsroom.worker(Ledger(newsroom.db, batch_size=1))

    newsroom.deliver(delivery, keep_going=lambda: next(answers, False))

    assert newsroom.counts(alert.id) == {"audience": 10, "stopped": 10}
    newsroom.deliver(delivery)
    assert newsroom.counts(alert.id) == {"audience": 25, "stopped": 25}


def test_what_is_planned_already_is_sent_before_more_is_planned(newsroom: Newsroom) -> None:
    newsroom.opt_in(1200)
    alert = newsroom.release()
    ledger = Ledger(newsroom.db, batch_size=110)
    ledger.plan()
    planned_when_claiming = []

    class Watched(Ledger):
        def claim(self, **options: Any) -> Lease | None:
            planned_when_claiming.append(len(newsroom.batches(alert.id)))
            return super().claim(**options)

    newsroom.deliver(newsroom.worker(Watched(newsroom.db, batch_size=110)))

    assert planned_when_claiming[0] == 10
    assert newsroom.counts(alert.id) == {"audience": 1200, "accepted": 1200}


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

    newsroom.deliver_until_over(alert)
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
        def claim(self, **options: Any) -> Lease | None:
            lease = super().claim(**options)
            if lease is not None:
                lease.alert.expires_at = lease.now()
            return lease

    newsroom.deliver(newsroom.worker(Late(newsroom.db)))

    assert newsroom.counts(alert.id) == {"audience": 10, "expired": 10}
    assert newsroom.control.report()["requests"] == 0


@pytest.mark.usefixtures("prompt_checkpoints")
def test_an_alert_that_is_stopped_in_mid_delivery_goes_to_nobody_else(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1500)
    alert = newsroom.release()
    most: list[int] = []

    class Stopping(Ledger):
        def checkpoint(self, leases: Any) -> list[Lease]:
            accepted = sum(lease.counts["accepted"] for lease in leases)
            if accepted >= 50 and not most:
                newsroom.stop(alert.id)
                most.append(accepted + newsroom.sender.in_flight)
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Stopping(newsroom.db)))

    counts = newsroom.counts(alert.id)
    assert newsroom.alert(alert.id).state == AlertState.STOPPED
    assert set(counts) == {"audience", "accepted", "stopped"}
    assert counts["audience"] == 1500
    assert 50 <= counts["accepted"] <= most[0] < 1500, "it goes on only with what was in flight"
    assert newsroom.control.report()["accepted"] == counts["accepted"]


@pytest.mark.usefixtures("prompt_checkpoints")
def test_a_worker_that_loses_its_lease_stops_and_the_next_one_loses_nobody(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(1000)
    alert = newsroom.release()
    stolen: list[Lease] = []
    most: list[int] = []

    class Robbed(Ledger):
        """Another worker takes the batch, as after a long sleep of this one."""

        def checkpoint(self, leases: Any) -> list[Lease]:
            accepted = sum(lease.counts["accepted"] for lease in leases)
            if accepted and not stolen:
                (batch,) = newsroom.batches(alert.id)
                with newsroom.changing(batch) as row:
                    row.lease_until -= HOUR
                stolen.append(newsroom.ledger.claim())
                most.append(accepted + newsroom.sender.in_flight)
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Robbed(newsroom.db)))

    sent = newsroom.control.report()["requests"]
    assert 0 < sent <= most[0] < 1000, "it goes on only with what was in flight"
    assert newsroom.counts(alert.id) == {"audience": 1000, "waiting": 1000}
    newsroom.ledger.finish(stolen[0])
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 1000, "accepted": 1000}
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


def test_a_later_alert_of_the_story_replaces_the_earlier(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    earlier = newsroom.release()
    newsroom.ledger.plan()
    later = newsroom.release("Bridge open", story_id=earlier.story_id)

    newsroom.deliver()

    assert newsroom.counts(earlier.id) == {"audience": 20, "superseded": 20}
    assert newsroom.counts(later.id) == {"audience": 20, "accepted": 20}
    assert newsroom.control.report()["requests"] == 20

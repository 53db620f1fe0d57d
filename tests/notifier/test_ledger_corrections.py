"""Corrections and withdrawals go to exactly those who may have received what they correct."""

import pytest
from ledger_steps import claimed, plan_all, work_off
from publication import HOUR, Publication

from notifier import reached
from notifier.db import Database, now_of
from notifier.ledger import Ledger
from notifier.models import Alert, AlertKind, AlertState, Subscription
from notifier.poison import MOST_FUTILE_CLAIMS

CORRECTING = [AlertKind.CORRECTION, AlertKind.WITHDRAWAL]


def correct(publication: Publication, earlier: Alert, **options: object) -> Alert:
    options = {"kind": AlertKind.CORRECTION, "story_id": earlier.story_id} | options
    return publication.release("Not closed", **options)


def size(publication: Publication, alert: Alert) -> int:
    with publication.db.read() as session:
        return reached.size(session, alert.story_id)


@pytest.mark.parametrize("kind", CORRECTING)
def test_it_goes_to_those_who_were_sent_the_alert_and_nobody_else(
    publication: Publication, ledger: Ledger, kind: AlertKind
) -> None:
    ids = publication.add_readers(5)
    alert = publication.release()
    ledger.plan()
    became = dict(zip(ids, ["accepted", "left", "rejected", "gone", "accepted"], strict=True))
    for lease in [claimed(ledger), claimed(ledger)]:
        for bit, row_id in enumerate(lease.ids):
            lease.settle(bit, became[row_id])
        ledger.finish(lease)
    publication.add_readers(2)

    correction = correct(publication, alert, kind=kind)
    assert size(publication, alert) == 2
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == [ids[4], ids[0]]


def test_whoever_has_changed_their_choices_since_is_told_all_the_same(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(2)
    alert = publication.release()
    ledger.plan()
    work_off(ledger, claimed(ledger))
    with publication.db.write() as session:
        session.get_one(Subscription, ids[0]).paused_until = now_of(session) + HOUR
        session.get_one(Subscription, ids[1]).level = 1
        session.get_one(Subscription, ids[1]).sections = 1

    correction = correct(publication, alert, section_bits=2)
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == ids[::-1]


def test_who_has_opted_out_since_counts_as_before_it_was_released(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    work_off(ledger, claimed(ledger))
    with publication.db.write() as session:
        session.delete(session.get_one(Subscription, ids[2]))  # the newest of all

    assert size(publication, alert) == 3
    correction = correct(publication, alert)
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == ids[::-1]


def test_a_message_that_was_written_but_not_answered_may_have_arrived(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.note_uncertain(1)
    lease.settle(2, "accepted")
    ledger.checkpoint([lease])
    lease.settle_rest("expired")
    ledger.finish(lease)

    correction = correct(publication, alert)
    assert size(publication, alert) == 2
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == [ids[1], ids[0]]


def test_a_worker_that_died_may_have_sent_to_everybody_who_was_not_settled(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    dead = claimed(ledger)
    dead.settle(0, "gone")
    ledger.checkpoint([dead])
    dead.settle(1, "accepted")  # and is gone before it could say so
    publication.expire_lease(dead)
    heir = claimed(ledger)
    heir.settle(1, "accepted")
    heir.settle(2, "rejected")
    ledger.finish(heir)

    correction = correct(publication, alert)
    assert size(publication, alert) == 2
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == [ids[1], ids[0]]


def test_a_worker_may_have_died_just_before_the_correction_is_released(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    dead = claimed(ledger)
    dead.settle(0, "left")
    ledger.checkpoint([dead])
    publication.expire_lease(dead)

    correction = correct(publication, alert)
    assert size(publication, alert) == 2
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == [ids[1], ids[0]]
    assert publication.counts(alert.id) == {"audience": 3, "left": 1, "superseded": 2}


def test_it_is_planned_when_nobody_sends_the_earlier_alert_any_more(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)

    correction = correct(publication, alert)

    assert ledger.due(9).unplanned == 0
    assert not ledger.plan()
    lease.settle(1, "accepted")
    ledger.checkpoint([lease])
    assert lease.closing_as == AlertState.SUPERSEDED
    assert not ledger.plan()
    lease.settle_rest("superseded")
    ledger.finish(lease)
    assert ledger.due(9).unplanned == 1
    plan_all(ledger)
    assert publication.planned_ids(correction.id) == [ids[1]]


def test_it_does_not_wait_for_the_clock_when_the_worker_dies(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    dead = claimed(ledger)
    correction = correct(publication, alert)
    assert not ledger.plan()

    publication.expire_lease(dead)

    assert ledger.plan()
    assert publication.planned_ids(correction.id) == ids[::-1]
    assert publication.alert(alert.id).state == AlertState.SUPERSEDED


def test_a_batch_that_has_failed_may_have_reached_everybody_unsettled(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(2)
    alert = publication.release()
    ledger.plan()
    for _ in range(MOST_FUTILE_CLAIMS):
        publication.expire_lease(claimed(ledger))
    assert ledger.claim() is None
    ledger.tidy()
    assert publication.counts(alert.id) == {"audience": 2, "failed": 2}

    correction = correct(publication, alert)
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == ids[::-1]


def test_nobody_is_told_twice_who_received_several_alerts(
    db: Database, publication: Publication
) -> None:
    """Batches of different sizes, so that their edges and the steps' lie anywhere."""
    ids = publication.add_readers(45)
    wanted: set[int] = set()
    story_id = None
    for number, batch_size in enumerate([1, 2, 3, 2]):
        ledger = Ledger(db, batch_size=batch_size)
        alert = publication.release(story_id=story_id)
        story_id = alert.story_id
        plan_all(ledger)
        while (lease := ledger.claim()) is not None:
            for bit, row_id in enumerate(lease.ids):
                accepted = row_id % 7 == number or row_id % 3 == number % 3 == 1
                lease.settle(bit, "accepted" if accepted else "rejected")
                wanted |= {row_id} if accepted else set()
            ledger.finish(lease)
        if number == 1:
            correct(publication, alert)
            plan_all(ledger)
            while (lease := ledger.claim()) is not None:
                work_off(ledger, lease)

    correction = correct(publication, alert)
    plan_all(Ledger(db, batch_size=2))

    assert 0 < len(wanted) < len(ids)
    assert publication.planned_ids(correction.id) == sorted(wanted, reverse=True)
    assert size(publication, alert) == len(wanted)


def test_an_alert_that_is_stopped_half_way_is_corrected_for_those_who_got_it(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    work_off(ledger, claimed(ledger))
    publication.stop(alert.id)

    correction = correct(publication, alert)
    plan_all(ledger)

    assert len(publication.planned_ids(correction.id)) == 3
    assert set(publication.planned_ids(correction.id)) < set(ids)


def test_a_correction_that_corrects_what_nobody_got_is_finished(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()

    correction = correct(publication, alert)
    assert size(publication, alert) == 0
    plan_all(ledger)

    assert publication.alert(correction.id).state == AlertState.FINISHED
    assert publication.counts(correction.id) == {}


def test_a_correction_of_a_correction_goes_to_everybody_who_got_either(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    for lease in [claimed(ledger), claimed(ledger)]:
        work_off(ledger, lease)
    correction = correct(publication, alert)
    plan_all(ledger)
    work_off(ledger, claimed(ledger))  # the second half never gets the first correction

    again = correct(publication, correction)
    plan_all(ledger)

    assert publication.planned_ids(again.id) == ids[::-1]


def test_who_is_planned_for_one_story_is_not_told_of_another(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    other = publication.release()
    ledger.plan()
    work_off(ledger, claimed(ledger))
    alert = publication.release()

    correction = correct(publication, alert)
    plan_all(ledger)

    assert publication.planned_ids(correction.id) == []
    assert size(publication, other) == 3

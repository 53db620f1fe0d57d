"""How alerts end: early, in the order of their story, or because a batch is poison."""

import pytest
from ledger_steps import batches_nobody_has_locked, claimed, plan_all, work_off
from publication import HOUR, Publication
from sqlalchemy import event
from together import together

from notifier.backlog import Due
from notifier.config import Settings
from notifier.db import Database
from notifier.ledger import Lease, LeaseLost, Ledger
from notifier.models import AlertKind, AlertState
from notifier.poison import MOST_FUTILE_CLAIMS

# Early ends


def test_stopping_settles_at_once_what_nobody_holds_and_tells_the_holders(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.settle(0, "accepted")

    assert publication.stop(alert.id).state == AlertState.CLOSING

    assert publication.counts(alert.id) == {"audience": 6, "waiting": 3, "stopped": 3}
    assert ledger.claim() is None
    assert ledger.checkpoint([lease]) == []
    assert lease.closing_as == AlertState.STOPPED
    work_off(ledger, lease, "stopped")
    assert publication.alert(alert.id).state == AlertState.STOPPED
    assert publication.counts(alert.id) == {"audience": 6, "accepted": 1, "stopped": 5}


def test_an_alert_that_nobody_holds_is_stopped_at_once(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()

    assert publication.stop(alert.id).state == AlertState.STOPPED

    assert publication.counts(alert.id) == {"audience": 3, "stopped": 3}
    assert not ledger.plan()
    assert ledger.claim() is None


def test_whoever_a_stopped_alert_was_for_is_counted_though_it_was_not_wholly_planned(
    db: Database, publication: Publication
) -> None:
    ids = publication.add_readers(22)
    alert = publication.release()
    ledger = Ledger(db, batch_size=1)
    ledger.plan()
    work_off(ledger, claimed(ledger))

    assert publication.stop(alert.id).state == AlertState.CLOSING

    publication.add_readers(2)
    assert ledger.due(99).unplanned == 1, "a worker is told to count the rest"
    while ledger.plan():
        assert ledger.claim() is None, "nobody is sent to any more"
    assert publication.counts(alert.id) == {"audience": 22, "accepted": 1, "stopped": 21}
    assert publication.planned_ids(alert.id) == ids[::-1]
    assert publication.alert(alert.id).state == AlertState.STOPPED
    assert ledger.due(99) == Due(unplanned=0, batches=0)


def test_what_takes_an_alerts_place_is_planned_before_the_rest_of_that_is_counted(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(32)
    earlier = publication.release()
    ledger = Ledger(db, batch_size=1)
    ledger.plan()

    later = publication.release(story_id=earlier.story_id)
    for _ in range(3):
        ledger.plan()

    assert publication.alert(later.id).planned_at is not None
    assert publication.counts(earlier.id) == {"audience": 10, "superseded": 10}
    plan_all(ledger)
    assert publication.counts(earlier.id) == {"audience": 32, "superseded": 32}
    assert publication.alert(earlier.id).state == AlertState.SUPERSEDED


def test_a_correction_that_is_stopped_unplanned_counts_whom_it_was_for(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(5)
    ledger = Ledger(db, batch_size=1)
    wrong = publication.release()
    plan_all(ledger)
    sending = claimed(ledger)
    correction = publication.release(story_id=wrong.story_id, kind=AlertKind.CORRECTION)
    publication.stop(correction.id)
    assert not ledger.plan(), "whom it was for is not known yet"

    work_off(ledger, sending)
    plan_all(ledger)

    assert publication.counts(correction.id) == {"audience": 1, "stopped": 1}
    assert publication.alert(correction.id).state == AlertState.STOPPED


def test_an_alert_that_expires_while_it_is_planned_counts_everybody(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(12)
    alert = publication.release()
    ledger = Ledger(db, batch_size=1)
    ledger.plan()
    with publication.changing(alert) as row:
        row.expires_at -= 2 * HOUR

    ledger.tidy()
    plan_all(ledger)

    assert publication.counts(alert.id) == {"audience": 12, "expired": 12}
    assert publication.alert(alert.id).state == AlertState.EXPIRED


def test_what_a_dead_worker_held_of_a_stopped_alert_is_settled_after_its_lease(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.settle(0, "accepted")
    ledger.checkpoint([lease])
    publication.stop(alert.id)

    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.CLOSING

    publication.expire_lease(lease)
    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.STOPPED
    assert publication.counts(alert.id) == {"audience": 3, "accepted": 1, "stopped": 2}
    with pytest.raises(LeaseLost):
        ledger.finish(lease)


def test_a_batch_given_back_while_its_alert_closes_is_settled(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    publication.stop(alert.id)

    ledger.finish(lease)
    ledger.tidy()

    assert publication.alert(alert.id).state == AlertState.STOPPED
    assert publication.counts(alert.id) == {"audience": 3, "stopped": 3}


def test_an_alert_expires(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    work_off(ledger, lease)
    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.RELEASED

    with publication.changing(alert) as row:
        row.expires_at -= 2 * HOUR

    assert ledger.claim() is None, "nothing is begun that nobody may see any more"
    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.EXPIRED
    assert publication.counts(alert.id) == {"audience": 6, "accepted": 3, "expired": 3}


def test_tidying_leaves_alone_what_goes_well(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)

    ledger.tidy()

    assert publication.alert(alert.id).state == AlertState.RELEASED
    work_off(ledger, lease)
    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.FINISHED


# Stories and order


def test_a_later_alert_of_a_story_supersedes_the_earlier_and_waits_for_its_last_messages(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(6)
    earlier = publication.release()
    ledger.plan()
    lease = claimed(ledger)

    later = publication.release("Bridge open again", story_id=earlier.story_id)
    plan_all(ledger)

    assert later.revision == earlier.revision + 1
    assert publication.counts(earlier.id) == {"audience": 6, "waiting": 3, "superseded": 3}
    assert ledger.claim() is None, "the earlier alert's messages are still under way"

    ledger.checkpoint([lease])
    assert lease.closing_as == AlertState.SUPERSEDED
    lease.settle(0, "accepted")
    work_off(ledger, lease, "superseded")
    assert publication.alert(earlier.id).state == AlertState.SUPERSEDED
    assert claimed(ledger).alert.id == later.id


def test_a_later_alert_does_not_wait_for_a_dead_worker_beyond_its_lease(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    earlier = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    later = publication.release(story_id=earlier.story_id)
    plan_all(ledger)

    publication.expire_lease(lease)

    assert claimed(ledger).alert.id == later.id


def test_an_alert_of_another_story_does_not_wait(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    publication.release()
    plan_all(ledger)
    claimed(ledger)
    other = publication.release()
    plan_all(ledger)

    assert claimed(ledger).alert.id == other.id


def test_releases_of_one_story_at_the_same_time_get_revisions_of_their_own(
    settings: Settings, publication: Publication, ledger: Ledger
) -> None:
    first = publication.release()

    def release(_: int) -> int:
        db = Database(settings.database)
        revision = Publication(db).release(story_id=first.story_id).revision
        db.close()
        return revision

    revisions = together(6, release)
    publication.add_readers(1)
    plan_all(ledger)

    assert sorted(revisions) == [2, 3, 4, 5, 6, 7]
    states = {publication.alert(alert_id).state for alert_id in range(first.id, first.id + 7)}
    assert states == {AlertState.FINISHED, AlertState.SUPERSEDED}


def test_withdrawals_go_first_then_corrections(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    kinds = [AlertKind.BREAKING, AlertKind.UPDATE, AlertKind.CORRECTION, AlertKind.WITHDRAWAL]
    stories = [publication.release().story_id for _ in kinds]
    plan_all(ledger)
    for _ in kinds:
        work_off(ledger, claimed(ledger))  # corrections go to whoever got these
    for kind, story_id in zip(kinds, stories, strict=True):
        publication.release(kind=kind, story_id=story_id)
    plan_all(ledger)

    assert [claimed(ledger).alert.kind for _ in kinds] == [
        AlertKind.WITHDRAWAL,
        AlertKind.CORRECTION,
        AlertKind.BREAKING,
        AlertKind.UPDATE,
    ]


def test_of_two_alerts_the_one_served_less_is_next(db: Database, publication: Publication) -> None:
    publication.add_readers(30)
    alerts = [publication.release().id, publication.release().id]
    ledger = Ledger(db, batch_size=1)
    plan_all(ledger)

    served = dict.fromkeys(alerts, 0)
    for number in range(40):
        lease = claimed(ledger)
        assert served[lease.alert.id] == min(served.values())
        served[lease.alert.id] += len(lease.ids)
        if number % 3:  # some are still held when the next is claimed
            work_off(ledger, lease)
    assert set(served.values()) == {30}


def test_an_alert_that_comes_later_catches_up(db: Database, publication: Publication) -> None:
    publication.add_readers(10)
    first = publication.release()
    ledger = Ledger(db, batch_size=1)
    plan_all(ledger)
    for _ in range(4):
        work_off(ledger, claimed(ledger))

    second = publication.release()
    plan_all(ledger)

    assert [claimed(ledger).alert.id for _ in range(5)] == [second.id] * 4 + [first.id]


# Poison


def test_a_batch_fails_after_five_claims_whose_workers_died(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    for _ in range(MOST_FUTILE_CLAIMS):
        publication.expire_lease(claimed(ledger))

    assert ledger.claim() is None

    assert publication.counts(alert.id) == {"audience": 3, "failed": 3}
    ledger.tidy()
    assert publication.alert(alert.id).state == AlertState.FINISHED


def test_a_batch_fails_after_five_claims_that_crashed(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    for number in range(MOST_FUTILE_CLAIMS):
        assert publication.counts(alert.id) == {"audience": 3, "waiting": 3}
        lease = claimed(ledger)
        ledger.abandon(lease, RuntimeError(f"crash {number}"))
        assert ledger.claim() is None, "a crash is not repeated at once"
        with publication.changing(publication.batch(lease.batch_id)) as row:
            row.not_before -= HOUR

    assert publication.counts(alert.id) == {"audience": 3, "failed": 3}
    assert publication.batch(lease.batch_id).last_error == "RuntimeError: crash 4"
    assert publication.alert(alert.id).state == AlertState.FINISHED


def test_a_claim_that_settled_somebody_was_not_futile(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    for _ in range(MOST_FUTILE_CLAIMS - 1):
        publication.expire_lease(claimed(ledger))
    lease = claimed(ledger)
    lease.settle(0, "accepted")
    ledger.checkpoint([lease])
    publication.expire_lease(lease)

    for _ in range(MOST_FUTILE_CLAIMS):
        publication.expire_lease(claimed(ledger))
    assert ledger.claim() is None

    assert publication.counts(alert.id) == {"audience": 3, "accepted": 1, "failed": 2}


def test_a_batch_that_waits_for_a_throttling_push_service_never_fails(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    for _ in range(3 * MOST_FUTILE_CLAIMS):
        ledger.finish(claimed(ledger))

    assert publication.counts(alert.id) == {"audience": 3, "waiting": 3}
    assert publication.batch(claimed(ledger).batch_id).futile_claims == 0


def test_a_batch_is_given_back_whatever_the_error_says(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)

    ledger.abandon(lease, ValueError("not\0text \udcff"))

    batch = publication.batch(lease.batch_id)
    assert (batch.claim_token, batch.last_error) == (None, "ValueError: not text")


def test_abandoning_does_not_take_the_batch_from_who_claimed_it_meanwhile(
    db: Database, other_db: Database, publication: Publication, ledger: Ledger
) -> None:
    """The lease ends, and another claims, between the look at the row and its change."""
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    late = claimed(ledger)
    publication.expire_lease(late)
    others: list[Lease | None] = []

    @event.listens_for(db.engine, "before_cursor_execute")
    def interfere(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE batches") and not others and not db.is_sqlite:
            free = batches_nobody_has_locked(other_db)
            others.append(Ledger(other_db).claim() if free else None)

    ledger.abandon(late, RuntimeError("crashed"))
    event.remove(db.engine, "before_cursor_execute", interfere)

    for holder in filter(None, others):
        assert publication.batch(holder.batch_id).claim_token == holder.token

"""Who holds a batch, and what a checkpoint makes last."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from ledger_steps import answer_gone, batches_nobody_has_locked, claimed, plan_all, work_off
from publication import HOUR, Publication
from sqlalchemy import event, func, select
from together import together

from notifier import subscriptions
from notifier.config import Settings
from notifier.db import CLOCKS_DIFFER_BY, Database, now_of
from notifier.ledger import Lease, LeaseLost, Ledger
from notifier.models import AlertState

# Claims and leases


def test_one_of_many_who_claim_at_the_same_time_wins(
    settings: Settings, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    for _ in range(5):
        publication.release()
        ledger.plan()

        def claim(_: int) -> Lease | None:
            db = Database(settings.database)
            lease = Ledger(db).claim()
            db.close()
            return lease

        (lease,) = filter(None, together(6, claim))
        work_off(ledger, lease)


def test_claims_at_the_same_time_get_different_batches(
    settings: Settings, publication: Publication
) -> None:
    ids = publication.add_readers(8)
    publication.release()
    Ledger(publication.db, batch_size=1).plan()

    def claim(_: int) -> Lease | None:
        db = Database(settings.database)
        lease = Ledger(db).claim()
        db.close()
        return lease

    leases = [lease for lease in together(8, claim) if lease is not None]

    assert sorted(lease.ids[0] for lease in leases) == ids


def test_a_batch_that_was_served_between_look_and_claim_is_not_claimed_as_it_was(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    """Its token is the same before and after: none. What was settled meanwhile must count."""
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    interfered = []

    # On SQLite nobody can get in between, as the claim's transaction already writes. The other goes
    # by the same clock: what a clock that is ahead has given back would not be due here at once.
    @event.listens_for(db.engine, "before_cursor_execute")
    def interfere(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE batches") and not interfered and not db.is_sqlite:
            interfered.append(statement)
            if batches_nobody_has_locked(db):
                other = claimed(ledger)
                other.settle(0, "accepted")
                ledger.finish(other)

    lease = ledger.claim()
    event.remove(db.engine, "before_cursor_execute", interfere)

    assert lease is not None
    assert lease.settled_bits == publication.batch(lease.batch_id).settled_bits
    assert lease.waiting == publication.counts(alert.id)["waiting"]


def test_a_batch_is_nobody_elses_until_its_lease_ends(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    first = claimed(ledger)
    first.settle(0, "accepted")
    ledger.checkpoint([first])

    assert ledger.claim() is None

    publication.expire_lease(first)
    second = claimed(ledger)
    assert second.batch_id == first.batch_id
    assert second.token != first.token
    assert second.settled_bits == 0b001
    assert second.accepted_bits == 0b001
    assert second.counts["accepted"] == 1
    assert second.waiting == 2
    assert sum(second.seconds_to_accept.values()) == 1


def test_nobody_takes_over_who_does_not_want_to(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(1)
    alert = publication.release()
    plan_all(ledger)
    assert ledger.claim(take_over=False) is not None, "nobody has had it yet"
    (batch,) = publication.batches(alert.id)
    with publication.changing(batch) as row:
        row.lease_until -= HOUR
    assert ledger.claim(take_over=False) is None
    assert ledger.claim() is not None


def test_who_lost_the_lease_changes_nothing_any_more(
    publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    late = claimed(ledger)
    publication.expire_lease(late)
    holder = claimed(ledger)
    holder.settle(2, "accepted")
    ledger.checkpoint([holder])

    late.settle(0, "gone")
    answer_gone(late, late.ids[0], subscriptions.endpoint_hash("another endpoint"))
    answer_gone(late, late.ids[1], publication.subscription(late.ids[1]).endpoint_hash)
    assert ledger.checkpoint([late]) == [late]
    with pytest.raises(LeaseLost):
        ledger.finish(late)
    ledger.abandon(late, RuntimeError("crashed"))

    batch = publication.batch(holder.batch_id)
    assert batch.claim_token == holder.token
    assert batch.futile_claims == 1
    assert batch.last_error is None
    assert publication.counts(alert.id) == {"audience": 3, "waiting": 2, "accepted": 1}
    assert all(publication.subscription(row_id).gone_at is None for row_id in ids)
    assert ledger.checkpoint([holder]) == []


def test_one_lost_lease_does_not_spoil_the_checkpoint_of_others(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    lost, kept = claimed(ledger), claimed(ledger)
    publication.expire_lease(lost)
    claimed(ledger)
    for lease in (lost, kept):
        lease.settle(0, "accepted")

    assert ledger.checkpoint([lost, kept]) == [lost]

    assert publication.counts(alert.id) == {"audience": 6, "waiting": 5, "accepted": 1}


def test_a_checkpoint_can_be_repeated(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.settle(0, "accepted")
    lease.settle(1, "gone")

    for _ in range(3):
        assert ledger.checkpoint([lease]) == []

    expected = {"audience": 3, "waiting": 1, "accepted": 1, "gone": 1}
    assert publication.counts(alert.id) == expected
    assert lease.unsaved == 0


def test_a_checkpoint_renews_the_lease(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)
    publication.expire_lease(lease)
    deadline = lease.deadline

    ledger.checkpoint([lease])

    assert lease.deadline > deadline
    assert ledger.claim() is None


def test_a_reader_who_is_gone_is_deactivated_but_not_one_who_has_renewed(
    publication: Publication, ledger: Ledger
) -> None:
    gone, renewed = publication.add_readers(2)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)
    for bit, row_id in enumerate(lease.ids):
        lease.settle(bit, "gone")
        answer_gone(lease, row_id, publication.subscription(row_id).endpoint_hash)
    with publication.changing(publication.subscription(renewed)) as row:
        row.endpoint_hash = subscriptions.endpoint_hash("the new one")

    ledger.finish(lease)

    assert publication.subscription(gone).gone_at is not None
    assert publication.subscription(renewed).gone_at is None


def test_a_batch_is_given_back_for_later(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.settle(0, "accepted")
    lease.holds["mozilla"] = 1_900_000_000.0

    ledger.finish(lease, again_in=timedelta(minutes=5))

    assert ledger.claim() is None
    batch = publication.batch(lease.batch_id)
    with publication.db.read() as session:
        assert timedelta(minutes=4) < batch.not_before - now_of(session) <= timedelta(minutes=5)
    with publication.changing(batch) as row:
        row.not_before -= HOUR
    again = claimed(ledger)
    assert again.holds == {"mozilla": 1_900_000_000.0}
    assert again.rounds == 1
    assert again.waiting == 2
    work_off(ledger, again)
    assert publication.alert(alert.id).state == AlertState.FINISHED
    assert publication.counts(alert.id) == {"audience": 3, "accepted": 3}


def test_an_alert_is_finished_with_its_last_batch(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(6)
    alert = publication.release()
    ledger.plan()
    first, second = claimed(ledger), claimed(ledger)

    work_off(ledger, first)
    assert publication.alert(alert.id).state == AlertState.RELEASED
    work_off(ledger, second)

    ended = publication.alert(alert.id)
    assert ended.state == AlertState.FINISHED
    assert ended.ended_at is not None
    with pytest.raises(LeaseLost):
        ledger.finish(second)


def test_an_alert_is_not_finished_while_it_is_still_planned(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(11)
    alert = publication.release()
    ledger = Ledger(db, batch_size=1)
    ledger.plan()

    for _ in range(10):
        work_off(ledger, claimed(ledger))
    assert publication.alert(alert.id).state == AlertState.RELEASED

    ledger.plan()
    work_off(ledger, claimed(ledger))
    assert publication.alert(alert.id).state == AlertState.FINISHED
    assert publication.counts(alert.id) == {"audience": 11, "accepted": 11}


# What is due


def test_due_counts_what_can_be_worked_on_now(publication: Publication, ledger: Ledger) -> None:
    assert (ledger.due(9).unplanned, ledger.due(9).batches) == (0, 0)
    publication.add_readers(9)
    publication.release()
    assert (ledger.due(9).unplanned, ledger.due(9).batches) == (1, 0)
    plan_all(ledger)
    assert (ledger.due(9).unplanned, ledger.due(9).batches) == (0, 3)
    assert ledger.due(2).batches == 2

    lease = claimed(ledger)
    assert ledger.due(9).batches == 2
    ledger.finish(lease, again_in=HOUR)
    assert ledger.due(9).batches == 2
    lease = claimed(ledger)
    publication.expire_lease(lease)
    assert ledger.due(9).batches == 2


def test_nothing_is_due_that_cannot_be_claimed(publication: Publication, ledger: Ledger) -> None:
    """Or a worker would be rung again and again for nothing."""
    publication.add_readers(3)
    earlier = publication.release()
    plan_all(ledger)
    lease = claimed(ledger)
    publication.release(story_id=earlier.story_id)
    plan_all(ledger)
    assert ledger.claim() is None
    assert ledger.due(9).batches == 0, "a story's later alert while the earlier is under way"

    publication.expire_lease(lease)
    assert ledger.due(9).batches == 1
    work_off(ledger, claimed(ledger))

    expired = publication.release(validity=HOUR)
    plan_all(ledger)
    with publication.changing(expired) as row:
        row.expires_at -= 2 * HOUR
    assert ledger.claim() is None
    assert ledger.due(9).batches == 0


# Clocks


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_on_postgresql_the_time_is_the_databases(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    with db.read() as session:
        before = session.scalars(select(func.now())).one()
    with time_machine.travel(datetime(2040, 1, 1, tzinfo=UTC)):
        alert = publication.release()
        ledger.plan()
        lease = claimed(ledger)
        ledger.tidy()
        ledger.checkpoint([lease])

    minute = timedelta(minutes=1)
    batch = publication.batch(lease.batch_id)
    for moment in (alert.released_at, alert.expires_at - HOUR, lease.claimed_at, lease.now()):
        assert before <= moment <= before + minute
    assert before <= batch.lease_until <= before + minute
    assert before - CLOCKS_DIFFER_BY <= batch.not_before <= before + minute
    assert publication.alert(alert.id).state == AlertState.RELEASED


def test_a_lease_tells_time_by_the_ledgers_clock(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)

    with time_machine.travel(datetime(2040, 1, 1, tzinfo=UTC)):
        assert timedelta() <= lease.now() - lease.claimed_at < timedelta(minutes=1)

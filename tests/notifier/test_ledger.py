"""The ledger's promises, on both databases."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from publication import HOUR, Publication
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import IntegrityError
from together import together

from notifier import subscriptions
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.ledger import MOST_FUTILE_CLAIMS, Lease, LeaseLost, Ledger
from notifier.models import COUNTS, AlertKind, AlertState, Batch, Subscription
from notifier.push_services import GoneEndpoint
from notifier.subscriptions import Proof


def plan_all(ledger: Ledger) -> None:
    while ledger.plan():
        pass


def claimed(ledger: Ledger) -> Lease:
    lease = ledger.claim()
    assert lease is not None
    return lease


def work_off(ledger: Ledger, lease: Lease, count: str = "accepted") -> None:
    lease.settle_rest(count)
    ledger.finish(lease)


def batches_nobody_has_locked(db: Database) -> list[int]:
    """Those that another transaction could change without waiting (PostgreSQL only)."""
    with db.read() as session:
        return list(session.scalars(select(Batch.id).with_for_update(skip_locked=True)))


@pytest.fixture
def other_db(settings: Settings) -> Iterator[Database]:
    """Another process's connections to the same database."""
    other = Database(settings.database)
    yield other
    other.close()


# The sum


@pytest.mark.parametrize(
    "change",
    [
        {"waiting": 2},
        {"accepted": 1},
        {"accepted": -1, "waiting": 4},
        {"size": 4},
        {"is_open": False},
        {"waiting": -1, "failed": 4},
    ],
)
def test_the_database_refuses_counts_that_do_not_add_up(
    publication: Publication, ledger: Ledger, change: dict[str, int]
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    (batch,) = publication.batches(alert.id)

    statement = update(Batch).where(Batch.id == batch.id).values(change)
    with publication.db.write() as session, pytest.raises(IntegrityError):
        session.execute(statement)


@pytest.mark.parametrize("count", COUNTS)
def test_every_outcome_counts_and_keeps_the_sum(
    publication: Publication, ledger: Ledger, count: str
) -> None:
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    lease = claimed(ledger)

    lease.settle(1, count)
    ledger.checkpoint([lease])

    assert publication.counts(alert.id) == {"audience": 3, "waiting": 2, count: 1}
    assert publication.batch(lease.batch_id).settled_bits == 0b010
    assert publication.batch(lease.batch_id).accepted_bits == (2 if count == "accepted" else 0)


def test_nobody_is_settled_twice(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)
    lease.settle(0, "accepted")

    with pytest.raises(ValueError, match="settled already"):
        lease.settle(0, "gone")


# Planning


def test_the_newest_readers_are_planned_first_and_ten_batches_a_step(
    db: Database, publication: Publication
) -> None:
    ids = publication.add_readers(25)
    alert = publication.release()
    ledger = Ledger(db, batch_size=2)

    assert ledger.plan()

    assert publication.planned_ids(alert.id) == ids[::-1][:20]
    assert [batch.size for batch in publication.batches(alert.id)] == [2] * 10
    assert publication.alert(alert.id).planned_at is None
    assert ledger.due(99).batches == 10, "sending starts before planning has ended"

    assert ledger.plan()
    assert publication.alert(alert.id).planned_at is not None
    assert publication.planned_ids(alert.id) == ids[::-1]
    assert [batch.size for batch in publication.batches(alert.id)][10:] == [2, 2, 1]
    assert not ledger.plan()


def test_an_audience_that_fills_its_steps_exactly_is_planned_to_the_end(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(10)
    alert = publication.release()
    ledger = Ledger(db, batch_size=1)

    plan_all(ledger)

    assert publication.alert(alert.id).planned_at is not None
    assert publication.counts(alert.id) == {"audience": 10, "waiting": 10}


def test_who_opts_in_after_the_release_is_not_planned(
    publication: Publication, ledger: Ledger
) -> None:
    before = publication.add_readers(4)
    alert = publication.release()
    publication.add_readers(4)

    plan_all(ledger)

    assert publication.planned_ids(alert.id) == before[::-1]


def test_only_those_who_want_it_and_are_still_there_are_planned(
    publication: Publication, ledger: Ledger
) -> None:
    everything = publication.add_readers(2)
    sport = publication.add_readers(2, sections=["sport"])
    publication.add_readers(2, sections=["politics"])
    (gone,) = publication.add_readers(1)
    with publication.db.write() as session:
        row = session.get_one(Subscription, gone)
        row.gone_at = now_of(session)
        bits = session.get_one(Subscription, sport[0]).sections

    alert = publication.release(section_bits=bits)
    plan_all(ledger)

    assert publication.planned_ids(alert.id) == [*sport[::-1], *everything[::-1]]


def test_a_plan_is_frozen(publication: Publication, ledger: Ledger) -> None:
    ids = publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    with publication.db.write() as session:
        endpoint = session.get_one(Subscription, ids[1])
        proof = Proof(endpoint=endpoint.endpoint, auth=endpoint.auth)
        subscriptions.opt_out(session, proof)
    publication.add_readers(3)

    plan_all(ledger)

    assert publication.planned_ids(alert.id) == ids[::-1]
    assert claimed(ledger).ids == ids[::-1]


def test_an_alert_for_nobody_is_finished_once_it_is_planned(
    publication: Publication, ledger: Ledger
) -> None:
    alert = publication.release()

    assert ledger.plan()

    assert publication.alert(alert.id).state == AlertState.FINISHED
    assert publication.alert(alert.id).ended_at is not None
    assert not ledger.plan()


def test_planners_at_the_same_time_plan_nobody_twice(
    settings: Settings, publication: Publication
) -> None:
    ids = publication.add_readers(60)
    alert = publication.release()

    def plan(_: int) -> None:
        db = Database(settings.database)
        plan_all(Ledger(db, batch_size=1))
        db.close()

    together(4, plan)

    assert sorted(publication.planned_ids(alert.id)) == ids


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
    db: Database, other_db: Database, publication: Publication, ledger: Ledger
) -> None:
    """Its token is the same before and after: none. What was settled meanwhile must count."""
    publication.add_readers(3)
    alert = publication.release()
    ledger.plan()
    interfered = []

    # On SQLite the other cannot get in between, as the claim's transaction already writes.
    @event.listens_for(db.engine, "before_cursor_execute")
    def interfere(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE batches") and not interfered and not db.is_sqlite:
            interfered.append(statement)
            if batches_nobody_has_locked(other_db):
                other = Ledger(other_db)
                lease = claimed(other)
                lease.settle(0, "accepted")
                other.finish(lease)

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
    ledger.abandon(late, "crashed")

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


def test_a_stopped_alert_is_not_planned_any_further(db: Database, publication: Publication) -> None:
    publication.add_readers(12)
    alert = publication.release()
    ledger = Ledger(db, batch_size=1)
    ledger.plan()

    publication.stop(alert.id)

    assert not ledger.plan()
    assert publication.counts(alert.id) == {"audience": 10, "stopped": 10}
    assert publication.alert(alert.id).state == AlertState.STOPPED


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
    settings: Settings, publication: Publication
) -> None:
    first = publication.release()

    def release(_: int) -> int:
        db = Database(settings.database)
        revision = Publication(db).release(story_id=first.story_id).revision
        db.close()
        return revision

    revisions = together(6, release)

    assert sorted(revisions) == [2, 3, 4, 5, 6, 7]
    states = {publication.alert(alert_id).state for alert_id in range(first.id, first.id + 7)}
    assert states == {AlertState.RELEASED, AlertState.SUPERSEDED}


def test_withdrawals_go_first_then_corrections(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    kinds = [AlertKind.BREAKING, AlertKind.UPDATE, AlertKind.CORRECTION, AlertKind.WITHDRAWAL]
    for kind in kinds:
        publication.release(kind=kind)
    plan_all(ledger)

    assert [claimed(ledger).alert.kind for _ in kinds] == [
        AlertKind.WITHDRAWAL,
        AlertKind.CORRECTION,
        AlertKind.BREAKING,
        AlertKind.UPDATE,
    ]


def test_two_alerts_of_thirty_batches_take_turns(db: Database, publication: Publication) -> None:
    publication.add_readers(30)
    alerts = [publication.release().id, publication.release().id]
    ledger = Ledger(db, batch_size=1)
    plan_all(ledger)

    order = []
    for number in range(60):
        lease = claimed(ledger)
        order.append(lease.alert.id)
        if number % 3:  # some are still held when the next is claimed
            work_off(ledger, lease)

    for number in range(0, 60, 2):
        assert sorted(order[number : number + 2]) == alerts


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
        ledger.abandon(lease, f"crash {number}")
        assert ledger.claim() is None, "a crash is not repeated at once"
        with publication.changing(publication.batch(lease.batch_id)) as row:
            row.not_before -= HOUR

    assert publication.counts(alert.id) == {"audience": 3, "failed": 3}
    assert publication.batch(lease.batch_id).last_error == "crash 4"
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

    ledger.abandon(late, "crashed")
    event.remove(db.engine, "before_cursor_execute", interfere)

    for holder in filter(None, others):
        assert publication.batch(holder.batch_id).claim_token == holder.token


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
    assert before <= batch.not_before <= before + minute
    assert publication.alert(alert.id).state == AlertState.RELEASED


def test_a_lease_tells_time_by_the_ledgers_clock(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(3)
    publication.release()
    ledger.plan()
    lease = claimed(ledger)

    with time_machine.travel(datetime(2040, 1, 1, tzinfo=UTC)):
        assert timedelta() <= lease.now() - lease.claimed_at < timedelta(minutes=1)


def answer_gone(lease: Lease, subscription_id: int, endpoint_hash: bytes) -> None:
    """What delivery notes when a push service has answered 404 or 410."""
    lease.findings.answers["fcm"] += 1
    lease.findings.gone.append(GoneEndpoint(subscription_id, endpoint_hash, "fcm"))

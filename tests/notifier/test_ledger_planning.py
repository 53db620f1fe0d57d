"""Batches: the sum that always holds, and who is planned."""

import pytest
from ledger_steps import claimed, plan_all
from publication import Publication
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from together import together

from notifier import subscriptions
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.ledger import Ledger
from notifier.models import COUNTS, AlertState, Batch, Subscription
from notifier.subscriptions import Proof

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

"""Batches: the sum that always holds, and who is planned."""

import time

import pytest
from ledger_steps import claimed, plan_all, work_off
from publication import HOUR, Publication
from sqlalchemy import event, text, update
from sqlalchemy.exc import IntegrityError, OperationalError
from together import together

from notifier import planning, subscriptions
from notifier.config import Settings
from notifier.db import CLOCK_KEPT_FOR, CLOCKS_DIFFER_BY, Database, now_of
from notifier.ledger import Ledger
from notifier.models import COUNTS, Alert, AlertState, Batch, Subscription
from notifier.proofs import Proof

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
    assert [batch.size for batch in publication.batches(alert.id)][10:] == [4, 1], (
        "a later step is not so urgent"
    )
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


def test_what_a_process_plans_whose_clock_is_ahead_is_due_to_the_others_at_once(
    db: Database, other_db: Database, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    publication.release()

    # How a clock comes to be ahead: PostgreSQL has answered late, as of a time that was later.
    @event.listens_for(db.engine, "before_cursor_execute")
    def delay(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "clock_timestamp" in statement:
            time.sleep(0.9 * CLOCKS_DIFFER_BY.total_seconds())

    time.sleep(CLOCK_KEPT_FOR.total_seconds())  # then it is asked again
    with db.read() as session:
        now_of(session)
    ledger.plan()
    event.remove(db.engine, "before_cursor_execute", delay)

    assert Ledger(other_db).claim() is not None


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


# Poison


def poison(publication: Publication) -> Alert:
    """An alert that no planner can make sense of, as nothing but a bug or a hand would write it."""
    alert = publication.release("Poison")
    with publication.changing(alert) as row:
        row.level = 77
    return alert


def let_it_be_tried_again(publication: Publication, alert: Alert) -> None:
    with publication.changing(alert) as row:
        row.plan_not_before -= HOUR


def test_an_alert_that_cannot_be_planned_does_not_stop_the_others(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(2)
    poisoned = poison(publication)
    sound = publication.release()

    plan_all(ledger)

    assert publication.counts(sound.id) == {"audience": 2, "waiting": 2}
    row = publication.alert(poisoned.id)
    assert row.planned_at is None
    assert "77" in (row.plan_error or "")
    assert ledger.due(9).unplanned == 0, "it rests before it is tried again"


def test_an_alert_that_fails_to_be_planned_five_times_fails_and_says_why(
    publication: Publication, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    publication.add_readers(2)
    alert = poison(publication)
    for number in range(planning.MOST_FAILURES):
        assert publication.alert(alert.id).state == AlertState.RELEASED, number
        assert ledger.plan()
        let_it_be_tried_again(publication, alert)

    assert not ledger.plan()
    row = publication.alert(alert.id)
    assert row.state == AlertState.FAILED
    assert row.ended_at is not None
    assert "77" in (row.plan_error or "")
    assert capsys.readouterr().out.count("planning_failed") == planning.MOST_FAILURES


def test_an_alert_whose_kind_is_none_harms_no_other(
    publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(2)
    poisoned, sound = publication.release(), publication.release()
    with publication.db.write() as session:
        session.execute(text("UPDATE alerts SET kind = 'rumour' WHERE id = 1"))
    assert poisoned.id == 1

    plan_all(ledger)

    assert publication.counts(sound.id) == {"audience": 2, "waiting": 2}


def test_failures_that_pass_are_forgotten_and_an_outage_is_none(
    db: Database, publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication.add_readers(12)
    alert, ledger = publication.release(), Ledger(db, batch_size=1)

    def out_of_space(*_: object) -> None:
        raise OperationalError("INSERT", None, Exception("disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(planning, "_plan_step", out_of_space)
        for _ in range(2 * planning.MOST_FAILURES):
            assert ledger.plan()
            let_it_be_tried_again(publication, alert)
    assert "disk is full" in (publication.alert(alert.id).plan_error or "")

    plan_all(ledger)

    assert publication.counts(alert.id) == {"audience": 12, "waiting": 12}
    assert publication.alert(alert.id).plan_error is None


def test_what_was_planned_before_planning_failed_is_sent_and_then_the_alert_has_failed(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(12)
    alert, ledger = publication.release(), Ledger(db, batch_size=1)
    ledger.plan()
    with publication.changing(alert) as row:
        row.level, row.plan_failures = 77, planning.MOST_FAILURES - 1
    ledger.plan()
    assert publication.alert(alert.id).state == AlertState.RELEASED

    with publication.changing(alert) as row:
        row.level = 2
    for _ in range(10):
        work_off(ledger, claimed(ledger))

    assert publication.alert(alert.id).state == AlertState.FAILED
    assert publication.counts(alert.id) == {"audience": 10, "accepted": 10}

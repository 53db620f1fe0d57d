"""`notifier doctor` while something is wrong: who is dead, what waits, what ops must decide."""

from collections import Counter
from datetime import timedelta

import pytest
from ledger_steps import claimed, plan_all
from publication import HOUR, Publication
from sqlalchemy import select, update

from notifier import heartbeats, push_services
from notifier.db import Database, now_of
from notifier.doctor.finding import Finding, State
from notifier.doctor.running import examine_running
from notifier.ledger import Ledger
from notifier.models import Heartbeat, Program

HEALTHY = {"background workers", "clock", "queue", "push services"}


def examined(db: Database) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine_running(db)}


def troubled(db: Database) -> set[str]:
    return {name for name, finding in examined(db).items() if finding.state is State.TROUBLE}


@pytest.fixture(autouse=True)
def _alive(db: Database) -> None:
    for program in Program:
        heartbeats.beat(db, program)


def age(db: Database, program: Program, by: timedelta) -> None:
    """Have it that the program beat for the last time so long ago, on another host."""
    with db.write() as session:
        session.execute(
            update(Heartbeat)
            .where(Heartbeat.program == program)
            .values(beat_at=now_of(session) - by, host="old-host")
        )


def test_all_is_well(db: Database) -> None:
    found = examined(db)
    assert found.keys() == HEALTHY
    assert {finding.state for finding in found.values()} == {State.THERE}


@pytest.mark.parametrize(
    ("program", "subject", "command"),
    [
        (Program.WORKER, "background workers", "python -m worker.supervisor"),
        (Program.CLOCK, "clock", "python -m worker.clock"),
    ],
)
def test_a_program_that_has_fallen_silent_is_missed_within_half_a_minute(
    db: Database, program: Program, subject: str, command: str
) -> None:
    age(db, program, timedelta(seconds=30))

    assert troubled(db) == {subject}
    assert "old-host (30 s ago)" in examined(db)[subject].text
    assert command in examined(db)[subject].todo


def test_one_of_several_hosts_that_is_silent_is_named_for_a_day(db: Database) -> None:
    age(db, Program.WORKER, 3 * HOUR)
    heartbeats.beat(db, Program.WORKER)
    found = examined(db)["background workers"]
    assert found.state is State.UNSEEN
    assert "old-host (3 h ago)" in found.text

    age(db, Program.CLOCK, 25 * HOUR)
    heartbeats.beat(db, Program.CLOCK)
    assert examined(db)["clock"].state is State.THERE
    with db.read() as session:
        assert len(session.scalars(select(Heartbeat)).all()) == 3


def test_beats_follow_one_another_in_one_row(db: Database) -> None:
    heartbeats.beat(db, Program.WORKER)
    with db.read() as session:
        assert len(heartbeats.of(session, Program.WORKER)) == 1
        assert heartbeats.alive(session, Program.WORKER)


def test_batches_that_nobody_works_on_are_trouble_and_those_in_their_turn_are_not(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(6)
    alert = publication.release()
    plan_all(ledger)
    assert troubled(db) == set()
    for batch in publication.batches(alert.id):
        with publication.changing(batch) as row:
            row.not_before -= HOUR / 4

    assert troubled(db) == {"queue"}
    assert "Due: 2 batches, the oldest for 15 min" in examined(db)["queue"].text

    claimed(ledger)
    assert troubled(db) == set()
    assert "Being sent: 1 batch, due: 1 batch, the" in examined(db)["queue"].text


def test_an_alert_that_nobody_plans_is_trouble(db: Database, publication: Publication) -> None:
    alert = publication.release()
    assert troubled(db) == set()
    with publication.changing(alert) as row:
        row.released_at -= timedelta(minutes=2)
    assert troubled(db) == {"queue"}


def test_an_audience_that_is_planned_while_its_first_batches_are_sent_is_no_trouble(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(12)
    alert = publication.release()
    with publication.changing(alert) as row:
        row.released_at -= timedelta(minutes=2)
    ledger = Ledger(db, batch_size=1)
    ledger.plan()

    claimed(ledger)

    assert troubled(db) == set()
    assert "Alerts to be planned: 1, being sent: 1 batch" in examined(db)["queue"].text


def test_an_alert_that_nobody_begins_is_trouble_though_another_is_sent(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(3)
    publication.release()
    plan_all(ledger)
    claimed(ledger)
    alert = publication.release()
    assert troubled(db) == set()
    with publication.changing(alert) as row:
        row.released_at -= timedelta(minutes=2)

    assert troubled(db) == {"queue"}


def test_an_alert_whose_planning_fails_is_named(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    alert = publication.release()
    with publication.changing(alert) as row:
        row.level = 77
    plan_all(ledger)
    assert troubled(db) == {f"alert {alert.id}"}
    assert "77" in examined(db)[f"alert {alert.id}"].text


def test_push_services_that_make_trouble_are_named(db: Database, publication: Publication) -> None:
    gone = publication.add_readers(push_services.ENOUGH_ANSWERS)
    alert = publication.release()
    rows = [publication.subscription(row_id) for row_id in gone[:200]]
    with db.write() as session:
        push_services.open_breaker(session, "fcm", "refuses messages (403)")
        push_services.record_answers(
            session,
            alert.id,
            Counter(mozilla=len(gone)),
            [
                push_services.GoneEndpoint(row.id, row.endpoint_hash, "mozilla")
                for row in rows
                if row is not None
            ],
            dropped={},
        )

    assert troubled(db) == {"fcm", "doubtful 410s"}
    assert "refuses messages (403)" in examined(db)["fcm"].text
    assert "200 subscriptions" in examined(db)["doubtful 410s"].text
    assert "notifier gone discard mozilla" in examined(db)["doubtful 410s"].todo

"""How an alert is getting on, and its ends."""

import pytest
from ledger_steps import plan_all, work_off
from publication import Publication
from sqlalchemy import text

from notifier import alerts, reports
from notifier.db import Database
from notifier.errors import Conflict, NotFound
from notifier.ledger import Ledger
from notifier.models import COUNTS, AlertState
from notifier.reports import Progress


def progress(publication: Publication, alert_id: int) -> Progress:
    with publication.db.read() as session:
        return reports.progress(session, alerts.get(session, alert_id))


def test_an_alert_that_has_not_begun(publication: Publication) -> None:
    publication.add_readers(3)

    begun = progress(publication, publication.release().id)

    assert begun.state == AlertState.RELEASED
    assert begun.planning
    assert begun.counts == dict.fromkeys(("audience", "waiting", *COUNTS), 0)
    assert begun.seconds_to == {"50": None, "90": None, "99": None}


def test_an_alert_under_way(publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(10)  # batches of three
    alert = publication.release()
    ledger.plan()
    for _ in range(2):
        lease = ledger.claim()
        assert lease is not None
        lease.settle_rest("accepted")
        ledger.finish(lease)
    half = progress(publication, alert.id)

    while lease := ledger.claim():
        lease.settle(0, "gone")
        lease.settle_rest("accepted")
        ledger.finish(lease)
    end = progress(publication, alert.id)

    assert half.counts["audience"] == 10
    assert not half.planning
    assert half.counts["accepted"] + half.counts["waiting"] == 10
    assert half.seconds_to["50"] is None or half.counts["accepted"] >= 5
    assert half.seconds_to["90"] is None
    assert end.state == AlertState.FINISHED
    assert end.counts["gone"] == 2
    assert end.counts["accepted"] == 8
    assert end.seconds_to["50"] is not None
    assert 0 < end.seconds_to["50"] < 600
    assert end.seconds_to["90"] is None, "only 80% accepted it"


def test_an_alert_for_nobody_has_no_percentiles(publication: Publication, ledger: Ledger) -> None:
    alert = publication.release()
    ledger.plan()

    assert progress(publication, alert.id).seconds_to == {"50": None, "90": None, "99": None}


@pytest.mark.parametrize(
    "damaged", ['{"40": "x"}', '{"x": 1}', '{"40": -1}', '{"9999999": 1}', "[1]", "null", "{"]
)
def test_an_alert_is_shown_though_one_batchs_times_are_damaged(
    db: Database, publication: Publication, ledger: Ledger, damaged: str
) -> None:
    if damaged == "{" and not db.is_sqlite:
        damaged = "{}"  # PostgreSQL stores nothing that is no JSON
    publication.add_readers(30)  # batches of three
    alert = publication.release()
    plan_all(ledger)
    while lease := ledger.claim():
        work_off(ledger, lease)
    first = publication.batches(alert.id)[0]
    with db.write() as session:
        session.execute(
            text("UPDATE batches SET seconds_to_accept = :damaged WHERE id = :id"),
            {"damaged": damaged, "id": first.id},
        )

    shown = progress(publication, alert.id)

    assert shown.state == AlertState.FINISHED
    assert shown.counts["accepted"] == 30
    assert shown.seconds_to["90"] is not None
    assert shown.seconds_to["99"] is None, "of three readers it is not known any more"


def test_several_at_once(db: Database, publication: Publication, ledger: Ledger) -> None:
    publication.add_readers(4)
    shown = [publication.release(), publication.release()]
    while ledger.plan():
        pass
    publication.stop(shown[0].id)

    with db.read() as session:
        found = reports.progress_of(session, alerts.latest(session, 5))
        assert reports.progress_of(session, []) == {}

    assert found[shown[0].id].counts["stopped"] == 4
    assert found[shown[0].id].state == AlertState.STOPPED
    assert found[shown[1].id].counts["waiting"] == 4


def test_stopping_what_has_ended_or_never_was(publication: Publication, ledger: Ledger) -> None:
    alert = publication.release()
    ledger.plan()
    with pytest.raises(Conflict, match="already finished"):
        publication.stop(alert.id)
    with pytest.raises(NotFound):
        publication.stop(alert.id + 1)

    stopped = publication.release()
    publication.stop(stopped.id)
    with pytest.raises(Conflict, match="already stopped"):
        publication.stop(stopped.id)


def test_the_latest_alerts_come_first(db: Database, publication: Publication) -> None:
    ids = [publication.release().id for _ in range(3)]

    with db.read() as session:
        assert [alert.id for alert in alerts.latest(session, 2)] == [ids[2], ids[1]]

"""Counting what browsers report of an alert's notifications."""

from datetime import timedelta

import pytest
from publication import HOUR, Publication
from sqlalchemy import select
from together import together

from notifier import reactions
from notifier.db import Database
from notifier.errors import NotFound
from notifier.models import Reaction, ReactionCount
from notifier.reactions import REPORTED_UNTIL, Reported, Tally

APPLE = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0"


@pytest.mark.parametrize(
    ("user_agent", "family"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "firefox"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4) {APPLE} FxiOS/140.0 Safari/605.1", "firefox"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Safari/537.36", "chrome"),
        (f"Mozilla/5.0 (iPhone) {APPLE} CriOS/143.0 Mobile/15E148 Safari/604.1", "chrome"),
        (f"Mozilla/5.0 (Windows NT 10.0) {CHROME} Safari/537.36 Edg/143.0.0.0", "edge"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36 EdgA/143.0", "edge"),
        (f"Mozilla/5.0 (Windows NT 10.0) {CHROME} Safari/537.36 OPR/120.0", "opera"),
        (f"Mozilla/5.0 (Linux; Android) SamsungBrowser/29.0 {CHROME} Safari/537.36", "samsung"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {APPLE} Safari/605.1", "safari"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) {APPLE} Mobile/15E1", "safari"),
        ("curl/8.0", "other"),
        ("", "other"),
        ("\x00" * 5000, "other"),
    ],
)
def test_browser_families(user_agent: str, family: str) -> None:
    assert reactions.family_of(user_agent) == family
    assert family in reactions.FAMILIES


@pytest.mark.parametrize(
    ("readers", "rate"),
    [(0, 1.0), (20_000, 1.0), (40_000, 0.5), (1_000_000, 0.02), (500_000_000, 0.001)],
)
def test_the_larger_the_audience_the_smaller_a_share_reports(readers: int, rate: float) -> None:
    assert reactions.rate_for(readers) == rate


def reports(db: Database) -> dict[tuple[int, str, str], int]:
    with db.read() as session:
        rows = session.scalars(select(ReactionCount))
        return {(row.alert_id, row.reaction.value, row.browser): row.reports for row in rows}


def test_reports_of_threads_and_processes_add_up(
    db: Database, other_db: Database, publication: Publication
) -> None:
    alert = publication.release(count_reactions=True)
    tallies = [Tally(db), Tally(other_db)]

    def report(number: int) -> None:
        tally = tallies[number % 2]
        for _ in range(10):
            tally.record(alert.id, Reaction.SHOWN, "Firefox/1")
            tally.record(alert.id, Reaction.CLICKED, "Edg/1")
        tally.save()

    together(8, report)

    assert reports(db) == {(alert.id, "shown", "firefox"): 80, (alert.id, "clicked", "edge"): 80}


def test_reports_are_saved_by_themselves_after_a_moment(
    db: Database, publication: Publication
) -> None:
    alert = publication.release(count_reactions=True)
    tally = Tally(db)
    tally.record(alert.id, Reaction.SHOWN, "")
    assert reports(db) == {}, "not a transaction for each"
    saver = tally._saver
    assert saver is not None

    saver.join(60)

    assert reports(db) == {(alert.id, "shown", "other"): 1}


def test_only_an_alert_that_may_still_be_looked_at_is_counted(
    db: Database, publication: Publication
) -> None:
    tally = Tally(db)
    counted = publication.release(count_reactions=True)
    with publication.changing(counted) as row:
        row.expires_at -= REPORTED_UNTIL
    tally.record(counted.id, Reaction.SHOWN, "")
    with publication.changing(counted) as row:
        row.expires_at -= 2 * HOUR

    for alert_id in (counted.id, publication.release().id, 10**15):
        with pytest.raises(NotFound):
            tally.record(alert_id, Reaction.SHOWN, "")
    tally.save()


def test_a_share_of_reports_stands_for_all(db: Database, publication: Publication) -> None:
    alert, uncounted = publication.release(count_reactions=True), publication.release()
    with publication.changing(alert) as row:
        row.count_rate = 0.25
    tally = Tally(db)
    for user_agent in ("Firefox/1", "Chrome/1", "Chrome/1"):
        tally.record(alert.id, Reaction.SHOWN, user_agent)
    tally.save()

    with db.read() as session:
        shown = [publication.alert(alert.id), uncounted]
        assert reactions.reported(session, shown) == {
            alert.id: {Reaction.SHOWN: Reported(3, 12), Reaction.CLICKED: Reported(0, 0)}
        }


def test_how_many_report_is_decided_when_the_alert_is_released(
    publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactions, "REPORTS_WANTED", 2)
    publication.add_readers(8)

    assert publication.release(count_reactions=True).count_rate == 0.25
    assert publication.release().count_rate is None


def test_what_the_database_does_not_take_costs_only_the_counts(
    db: Database, publication: Publication, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = publication.release(count_reactions=True, validity=timedelta(hours=1))
    tally = Tally(db)
    tally.record(alert.id, Reaction.SHOWN, "")
    with db.write() as session:
        ReactionCount.__table__.drop(session.connection())  # type: ignore[attr-defined]

    tally.save()

    assert "reactions_lost" in capsys.readouterr().out

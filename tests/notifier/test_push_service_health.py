"""Push services that refuse, fail or throttle: who waits, who goes on, who is never deleted."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from newsroom import Newsroom
from outages import (
    LONG_AGO,
    breakers,
    let_probe,
    newest,
    open_breaker,
    probe,
    refused,
)
from publication import Publication
from sqlalchemy import update
from structlog.testing import capture_logs

from notifier import backlog, findings, push_services
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.findings import Findings
from notifier.health import ServiceHealth
from notifier.ledger import Ledger
from notifier.models import OpenBreaker
from notifier.push.flow import Flows
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService


@pytest.fixture
def other(db: Database, settings: Settings) -> Iterator[Newsroom]:
    """The same publication, with readers at another push service."""
    with PushService.in_thread() as service, PushServiceControl(service.origin) as control:
        newsroom = Newsroom(db, settings, control)
        yield newsroom
        newsroom.close()


@pytest.fixture
def both(
    db: Database, settings: Settings, newsroom: Newsroom, other: Newsroom
) -> Iterator[Newsroom]:
    """Its worker sends to both push services."""
    both = Newsroom(db, settings, newsroom.control, also=[other.control.origin])
    yield both
    both.close()


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_push_service_that_fails_everybody_is_left_alone_until_a_probe_finds_it_well(
    newsroom: Newsroom, status: int
) -> None:
    newsroom.opt_in(1000)
    newsroom.control.set_faults([{"status": status}])
    alert = newsroom.release()
    newsroom.deliver()

    report = newsroom.control.report()
    assert report["requests"] <= 300
    (push_service,) = breakers(newsroom)
    assert push_service == newsroom.control.origin
    assert newsroom.counts(alert.id) == {"audience": 1000, "waiting": 1000}
    assert newsroom.gone() == 0

    newsroom.control.begin_wave()
    let_probe(newsroom, alert)
    newsroom.deliver()
    assert newsroom.control.report()["requests"] == 1, "one probe, whose failure opens again"
    assert breakers(newsroom)[push_service].openings == 2

    newsroom.control.set_faults([])
    let_probe(newsroom, alert)
    newsroom.deliver()
    assert breakers(newsroom) == {}
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 1000, "accepted": 1000}
    assert refused(newsroom) == 0
    assert newsroom.control.report()["duplicates"] == 0


def test_an_answer_that_is_not_bad_opens_no_breaker_after_an_outage(newsroom: Newsroom) -> None:
    newsroom.opt_in(100)
    newsroom.control.set_faults([{"status": 403}])
    alert = newsroom.release()
    newsroom.deliver()
    assert list(breakers(newsroom)) == [newsroom.control.origin]

    newsroom.control.set_faults([{"status": 429, "retry_after": "60"}])
    probe(newsroom, alert)
    newsroom.skip_waiting(alert)
    newsroom.deliver()
    assert breakers(newsroom) == {}


def test_any_batch_that_has_been_left_may_try_whether_a_push_service_works(
    newsroom: Newsroom,
) -> None:
    newsroom.ledger = Ledger(newsroom.db, batch_size=5)
    newsroom.delivery = newsroom.worker(newsroom.ledger)
    newsroom.opt_in(100)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release()
    newsroom.deliver()
    newsroom.skip_waiting(alert)

    found: set[int] = set()
    for _ in range(100):
        with newsroom.db.read() as session:
            found.update(backlog.candidates(session, take_over=True, ahead_of=None))
    assert found == {batch.id for batch in newsroom.batches(alert.id)}


def test_a_failing_push_service_does_not_hold_up_another(
    newsroom: Newsroom, other: Newsroom, both: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the other may be slow, too, and get half of the room: a matter of its own.
    monkeypatch.setattr(Flows, "crowds", lambda *_: False)
    newsroom.opt_in(300)
    other.opt_in(300)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release()
    both.deliver()
    assert other.control.report()["accepted_readers"] == 300
    assert newsroom.counts(alert.id) == {"audience": 600, "accepted": 300, "waiting": 300}


def test_a_message_that_is_too_large_for_one_push_service_goes_to_the_others(
    newsroom: Newsroom, other: Newsroom, both: Newsroom
) -> None:
    newsroom.opt_in(500)
    other.opt_in(100)
    newsroom.control.set_faults([{"status": 413}])
    alert = newsroom.release()
    both.deliver()
    assert newsroom.counts(alert.id) == {"audience": 600, "accepted": 100, "rejected": 500}
    assert newsroom.control.report()["requests"] <= 200, "it has said so; why ask again"
    assert breakers(newsroom) == {}
    assert refused(newsroom) == newsroom.gone() == 0


def test_a_push_service_that_throttles_many_is_held_as_a_whole(newsroom: Newsroom) -> None:
    newsroom.opt_in(1000)
    newsroom.control.set_faults([{"status": 429, "share": 0.5, "retry_after": "30"}])
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.control.report()["requests"] <= 400
    assert newsroom.control.report()["early"] == 0
    counts = newsroom.counts(alert.id)
    assert counts["accepted"] + counts["waiting"] == 1000
    assert breakers(newsroom) == {}


def test_what_a_push_service_takes_and_throws_away_is_counted_apart(
    publication: Publication,
) -> None:
    alert, other = publication.release(), publication.release()
    with capture_logs() as told:
        for dropped in (3, 2, 0):
            answers = Findings(answers=Counter(wns=10, fcm=10), dropped=Counter(wns=dropped))
            with publication.db.write() as session:
                findings.record(session, [(alert.id, answers)])

    with publication.db.read() as session:
        assert push_services.dropped(session, alert.id) == {"wns": 5}
        assert push_services.dropped(session, other.id) == {}
    assert [line["event"] for line in told] == ["messages_dropped"], "ops are told once"


def test_a_breakers_pause_doubles_with_each_probe_that_fails_for_all_processes(
    db: Database, other_db: Database
) -> None:
    pauses = []
    for note in (push_services.open_breaker, *[push_services.note_failed_probe] * 5):
        with db.write() as session:
            note(session, "fcm", "cannot be reached")
            opened = now_of(session)
        with other_db.read() as session:
            pauses.append((push_services.open_breakers(session)["fcm"] - opened).total_seconds())

    assert pauses == [pytest.approx(seconds, abs=1) for seconds in (5, 10, 20, 40, 60, 60)]


def test_what_several_processes_find_out_at_once_opens_a_breaker_once(
    newsroom: Newsroom, other_db: Database
) -> None:
    with capture_logs() as told:
        open_breaker(newsroom)
        before = breakers(newsroom)[newsroom.control.origin].probe_at
        with other_db.write() as session:
            push_services.open_breaker(session, newsroom.control.origin, "found out too")

    (breaker,) = breakers(newsroom).values()
    assert (breaker.openings, breaker.probe_at, breaker.reason) == (1, before, "test")
    assert [line["event"] for line in told] == ["breaker_opened"]


def test_ops_are_told_once_that_an_alert_is_too_large_for_a_push_service(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(20)
    newsroom.control.set_faults([{"status": 413}])
    alert = newsroom.release()

    with capture_logs() as told:
        newsroom.deliver()

    lines = [line for line in told if line["event"] == "message_too_large"]
    assert lines == [
        {
            "event": "message_too_large",
            "log_level": "error",
            "push_service": newsroom.control.origin,
            "alert": alert.id,
        }
    ]


def test_one_process_wins_the_probe(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        push_services.open_breaker(session, "fcm", "cannot be reached")
        assert not push_services.win_probe(session, "fcm"), "its pause has just begun"
        session.execute(update(OpenBreaker).values(probe_at=now_of(session) - LONG_AGO))
        assert push_services.win_probe(session, "fcm")
        assert not push_services.win_probe(session, "fcm")
        push_services.close_breaker(session, "fcm")
        assert push_services.open_breakers(session) == {}


def test_a_probe_that_could_not_be_sent_is_not_the_last_one(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    with newsroom.changing(newest(newsroom)) as row:
        row.p256dh = b"\x04" + bytes(64)
    open_breaker(newsroom)
    alert = newsroom.release()

    probe(newsroom, alert, times=3)

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "rejected": 1}


def test_when_a_probe_is_accepted_the_others_follow_soon(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    open_breaker(newsroom)
    alert = newsroom.release()
    newsroom.deliver()
    let_probe(newsroom, alert)

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 1, "waiting": 19}
    (batch,) = newsroom.batches(alert.id)
    with newsroom.db.read() as session:
        assert batch.not_before - now_of(session) < timedelta(seconds=2)


def test_a_probe_that_was_never_sent_is_not_the_last_one(newsroom: Newsroom) -> None:
    """Its alert was stopped, and it taken back."""
    open_breaker(newsroom)
    health, origin = ServiceHealth(newsroom.db), newsroom.control.origin

    def is_let_through() -> bool:
        with newsroom.db.read() as session:
            return health.hold(origin, now_of(session)) is None

    for _ in range(2):
        with newsroom.db.write() as session:
            session.execute(update(OpenBreaker).values(probe_at=now_of(session) - LONG_AGO))
        health.sync()
        assert is_let_through()
        assert not is_let_through(), "one at a time"


def test_a_probe_that_was_too_large_is_not_the_last_one(newsroom: Newsroom) -> None:
    newsroom.opt_in(20)
    open_breaker(newsroom)
    newsroom.control.set_faults([{"status": 413}])
    probe(newsroom, newsroom.release())

    newsroom.control.set_faults([])
    other = newsroom.release("Another story")
    probe(newsroom, other, times=3)

    assert newsroom.counts(other.id) == {"audience": 20, "accepted": 20}

"""Push services that refuse, fail or throttle: who waits, who goes on, who is never deleted."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from newsroom import Newsroom
from publication import Publication
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from notifier import backlog, findings, push_services
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.findings import Findings
from notifier.health import ServiceHealth
from notifier.ledger import Ledger
from notifier.models import Alert, AlertState, OpenBreaker, Subscription
from notifier.push import Outcome, Rejected, Throttled, Unreachable
from notifier.push.flow import Flows
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService

LONG_AGO = timedelta(hours=1)


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


def breakers(newsroom: Newsroom) -> dict[str, OpenBreaker]:
    with newsroom.db.read() as session:
        return {row.push_service: row for row in session.scalars(select(OpenBreaker))}


def let_probe(newsroom: Newsroom, alert: Alert) -> None:
    """Have it that the breaker's pause is over, and the batches'."""
    with newsroom.db.write() as session:
        session.execute(update(OpenBreaker).values(probe_at=now_of(session) - LONG_AGO))
    newsroom.skip_waiting(alert)


def probe(newsroom: Newsroom, alert: Alert, *, times: int = 1) -> None:
    for _ in range(times):
        let_probe(newsroom, alert)
        newsroom.deliver()


def deliver_without_waiting(newsroom: Newsroom, alert: Alert) -> None:
    """Deliver to the end, as if the pauses between rounds were over at once."""
    while not newsroom.alert(alert.id).state.final:
        newsroom.skip_waiting(alert)
        newsroom.deliver()


def open_breaker(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        push_services.open_breaker(session, newsroom.control.origin, "test")


def newest(newsroom: Newsroom) -> Subscription:
    """Whom a batch has at its beginning, and would try first."""
    query = select(Subscription).order_by(Subscription.id.desc()).limit(1)
    with newsroom.db.read() as session:
        return session.scalars(query).one()


def refused(newsroom: Newsroom) -> int:
    query = select(func.count()).where(Subscription.rejected_at.is_not(None))
    with newsroom.db.read() as session:
        return session.scalars(query).one()


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


def test_a_few_who_are_refused_are_rejected_and_noted_until_they_are_taken_again(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(200)
    newsroom.control.set_faults([{"status": 403, "share": 0.05}])
    (rule,) = newsroom.control.faults()
    alert = newsroom.release()
    newsroom.deliver_until_over(alert)
    rejected = rule["count"]
    accepted = 200 - rejected
    assert newsroom.counts(alert.id) == {
        "audience": 200, "accepted": accepted, "rejected": rejected,
    }  # fmt: skip
    assert newsroom.alert(alert.id).state == AlertState.FINISHED
    assert refused(newsroom) == rejected
    assert newsroom.gone() == 0

    newsroom.control.set_faults([])
    second = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(second.id) == {"audience": 200, "accepted": 200}
    assert refused(newsroom) == 0


@pytest.mark.parametrize("is_back", [True, False])
def test_who_is_refused_at_a_batchs_end_is_asked_again_as_it_may_be_the_push_services_fault(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, is_back: bool
) -> None:
    newsroom.opt_in(100)
    answers = count(1)
    poll = newsroom.sender.poll

    def refuse_the_last_four(*options: Any) -> list[tuple[Any, Any]]:
        return [
            (token, outcome if next(answers) <= 96 else Rejected(403))
            for token, outcome in poll(*options)
        ]

    monkeypatch.setattr(newsroom.sender, "poll", refuse_the_last_four)
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 96, "waiting": 4}
    if is_back:
        monkeypatch.undo()
    deliver_without_waiting(newsroom, alert)

    became = {"accepted": 100} if is_back else {"accepted": 96, "rejected": 4}
    assert newsroom.counts(alert.id) == {"audience": 100} | became
    assert refused(newsroom) == (0 if is_back else 4)
    assert next(answers) - 1 == (100 if is_back else 96 + 4 * 6), "asked six times at most"


def test_a_push_service_that_refuses_few_readers_who_are_all_that_it_has_is_left_alone_too(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(60)
    newsroom.control.set_faults([{"status": 403}])
    alert = newsroom.release()
    newsroom.deliver()
    assert list(breakers(newsroom)) == [newsroom.control.origin]

    newsroom.control.set_faults([])
    probe(newsroom, alert)
    deliver_without_waiting(newsroom, alert)
    assert newsroom.counts(alert.id) == {"audience": 60, "accepted": 60}
    assert refused(newsroom) == 0


def test_another_process_asks_again_too_who_was_refused_at_a_batchs_end(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(100)
    refuse(newsroom, monkeypatch, lambda place: place > 96)
    alert = newsroom.release()
    newsroom.deliver()

    another = newsroom.worker(newsroom.ledger)
    newsroom.skip_waiting(alert)
    newsroom.deliver(another)
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 96, "waiting": 4}

    monkeypatch.undo()
    newsroom.skip_waiting(alert)
    newsroom.deliver(another)
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 100}


def test_the_next_alert_in_the_same_outage_has_the_doubt_too(newsroom: Newsroom) -> None:
    newsroom.opt_in(12)
    newsroom.control.set_faults([{"status": 403}])
    first = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(first.id) == {"audience": 12, "waiting": 12}

    second = newsroom.release()
    newsroom.deliver(newsroom.worker(newsroom.ledger))
    assert newsroom.counts(second.id) == {"audience": 12, "waiting": 12}

    newsroom.control.set_faults([])
    deliver_without_waiting(newsroom, second)
    assert newsroom.counts(second.id) == {"audience": 12, "accepted": 12}


def test_who_was_refused_long_before_is_not_asked_again_and_casts_no_doubt(
    newsroom: Newsroom,
) -> None:
    newsroom.opt_in(3)
    newsroom.control.set_faults([{"status": 403}])
    with newsroom.db.write() as session:
        session.execute(update(Subscription).values(rejected_at=now_of(session) - LONG_AGO))
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 3, "rejected": 3}


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


@pytest.mark.parametrize("other_answer", [Unreachable(None), Throttled(None)])
def test_an_answer_that_says_nothing_of_refusals_leaves_the_doubt(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, other_answer: Outcome
) -> None:
    newsroom.opt_in(100)
    answers = count(1)
    poll = newsroom.sender.poll

    def refuse_all_but_the_last(*options: Any) -> Iterator[tuple[Any, Any]]:
        for sent, outcome in poll(*options):
            place = next(answers)
            yield sent, outcome if place <= 92 else Rejected(403) if place < 100 else other_answer

    monkeypatch.setattr(newsroom.sender, "poll", refuse_all_but_the_last)
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 92, "waiting": 8}


def test_who_was_refused_in_an_outage_that_is_over_by_the_batchs_end_is_asked_again(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(100)
    poll = newsroom.sender.poll
    stragglers: list[tuple[Any, Any]] = []
    answers = count(1)

    def refuse_until_the_breaker_has_opened_and_closed(*options: Any) -> list[tuple[Any, Any]]:
        answered = []
        for sent, outcome in poll(*options):
            place = next(answers)
            if place == 1:
                stragglers.append((sent, outcome))
            else:
                answered.append((sent, Rejected(403) if place <= 30 else outcome))
        if not answered and stragglers:
            if newsroom.control.origin in breakers(newsroom):
                with newsroom.db.write() as session:
                    push_services.close_breaker(session, newsroom.control.origin)
            elif newsroom.delivery._health.open_until(newsroom.control.origin) is None:
                answered, stragglers[:] = list(stragglers), []
        return answered

    monkeypatch.setattr(newsroom.sender, "poll", refuse_until_the_breaker_has_opened_and_closed)
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id).keys() == {"audience", "accepted", "waiting"}

    deliver_without_waiting(newsroom, alert)
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 100}


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


def refuse(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[int], bool]
) -> set[int]:
    """Have some refused at their first answers, told by its place (from 1), and ever after."""
    refused_ids: set[int] = set()
    first_answers = count(1)
    seen: set[int] = set()
    poll = newsroom.sender.poll

    def refuse_some(*options: Any) -> Iterator[tuple[Any, Any]]:
        for sent, outcome in poll(*options):
            row_id = sent.recipient.subscription_id
            if row_id not in seen and is_refused(next(first_answers)):
                refused_ids.add(row_id)
            seen.add(row_id)
            yield sent, Rejected(403) if row_id in refused_ids else outcome

    monkeypatch.setattr(newsroom.sender, "poll", refuse_some)
    return refused_ids


def test_who_is_refused_and_asked_again_does_not_count_twice(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(100)
    # The last, so that it is in doubt whether that is the push service's fault.
    refused_ids = refuse(newsroom, monkeypatch, lambda place: place > 85)
    alert = newsroom.release()

    deliver_without_waiting(newsroom, alert)

    assert breakers(newsroom) == {}, "they keep no other alert from the push service's readers"
    assert newsroom.counts(alert.id) == {"audience": 100, "accepted": 85, "rejected": 15}
    assert refused(newsroom) == len(refused_ids) == 15


def test_a_breaker_that_many_refused_readers_have_opened_is_not_opened_by_them_again(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(200)
    refused_ids = refuse(newsroom, monkeypatch, lambda place: place % 3 == 0 and place <= 100)
    alert = newsroom.release()
    newsroom.deliver()
    assert list(breakers(newsroom)) == [newsroom.control.origin]

    probe(newsroom, alert)
    deliver_without_waiting(newsroom, alert)

    assert breakers(newsroom) == {}
    assert newsroom.counts(alert.id) == {"audience": 200, "accepted": 167, "rejected": 33}
    assert refused(newsroom) == len(refused_ids) == 33


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


def test_who_was_refused_last_time_does_not_open_the_breaker(newsroom: Newsroom) -> None:
    newsroom.opt_in(300)
    newsroom.control.set_faults([{"status": 403, "share": 0.4}])
    (rule,) = newsroom.control.faults()
    with newsroom.db.write() as session:
        are_refused = Subscription.endpoint.in_(rule["endpoints"])
        long_ago = now_of(session) - LONG_AGO
        session.execute(update(Subscription).where(are_refused).values(rejected_at=long_ago))
    alert = newsroom.release()

    newsroom.deliver()

    assert breakers(newsroom) == {}
    rejected = rule["count"]
    assert newsroom.counts(alert.id) == {
        "audience": 300, "accepted": 300 - rejected, "rejected": rejected,
    }  # fmt: skip


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


def test_one_reader_who_is_always_refused_does_not_keep_a_breaker_open(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(20)
    refused = newest(newsroom).id
    poll = newsroom.sender.poll

    def refuse_one(*options: Any) -> list[tuple[Any, Any]]:
        return [
            (token, Rejected(403) if token[1].subscription_id == refused else outcome)
            for token, outcome in poll(*options)
        ]

    monkeypatch.setattr(newsroom.sender, "poll", refuse_one)
    open_breaker(newsroom)
    alert = newsroom.release()

    probe(newsroom, alert, times=12)

    assert newsroom.counts(alert.id) == {"audience": 20, "accepted": 19, "rejected": 1}

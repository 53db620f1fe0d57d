"""Readers whose messages are refused: their own fault, ours, or the push service's."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from newsroom import Newsroom
from outages import (
    LONG_AGO,
    breakers,
    deliver_without_waiting,
    newest,
    open_breaker,
    probe,
    refused,
)
from sqlalchemy import update

from notifier import push_services
from notifier.db import now_of
from notifier.models import AlertState, Subscription
from notifier.push import Outcome, Rejected, Throttled, Unreachable


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

"""So many 410s that they are doubtful wait for ops, who believe them or do not."""

from collections import Counter
from itertools import count
from typing import Any

import pytest
from newsroom import Newsroom
from publication import Publication
from sqlalchemy import func, select
from structlog.testing import capture_logs

from notifier import findings, push_services
from notifier.findings import Findings
from notifier.models import Alert, Subscription
from notifier.push import Gone


def answer(publication: Publication, alert: Alert, count: int, *, gone: list[int]) -> None:
    """Have it that Mozilla has answered so many messages; of these readers, that they are gone."""
    with publication.db.write() as session:
        query = select(Subscription.id, Subscription.endpoint_hash, Subscription.push_service)
        rows = session.execute(query.where(Subscription.id.in_(gone)))
        endpoints = [push_services.GoneEndpoint(*row) for row in rows]
        answers = Findings(answers=Counter(mozilla=count), gone=endpoints)
        findings.record(session, [(alert.id, answers)])


def deactivated(publication: Publication) -> int:
    query = select(func.count()).where(Subscription.gone_at.is_not(None))
    with publication.db.read() as session:
        return session.scalars(query).one()


def waiting_for_ops(owner: Publication | Newsroom) -> int:
    with owner.db.read() as session:
        return sum(count for _, _, count in push_services.doubtful(session))


@pytest.mark.parametrize("believe", [True, False])
def test_so_many_410s_that_it_is_doubtful_wait_for_ops(newsroom: Newsroom, believe: bool) -> None:
    newsroom.opt_in(1500)
    newsroom.control.set_faults([{"status": 410, "share": 0.5}])
    (rule,) = newsroom.control.faults()
    alert = newsroom.release()
    newsroom.deliver_until_over(alert)
    counts = newsroom.counts(alert.id)
    assert counts == {"audience": 1500, "accepted": 1500 - rule["count"], "gone": rule["count"]}
    assert newsroom.gone() == 0, "also those are back that were deactivated at first"

    origin = newsroom.control.origin
    with newsroom.db.read() as session:
        assert push_services.doubtful(session) == [(origin, alert.id, rule["count"])]
    assert rule["count"] > push_services.APPLIED_AT_ONCE
    if believe:
        assert push_services.apply_doubtful(newsroom.db, origin) == rule["count"]
    else:
        with newsroom.db.write() as session:
            assert push_services.discard_doubtful(session, origin) == rule["count"]
    assert waiting_for_ops(newsroom) == 0
    assert newsroom.gone() == (rule["count"] if believe else 0)


def test_who_renews_while_ops_decide_stays(publication: Publication) -> None:
    renewing, *others = publication.add_readers(500)
    answer(publication, publication.release(), 500, gone=[renewing, *others])
    with publication.db.write() as session:
        subscription = session.get_one(Subscription, renewing)
        subscription.endpoint_hash = b"another endpoint's hash, 32 byte"

    push_services.apply_doubtful(publication.db, "mozilla")

    assert deactivated(publication) == len(others)


@pytest.mark.parametrize(
    ("answers", "gone", "believed"),
    [(499, 499, True), (500, 150, True), (500, 151, False), (1000, 300, True), (1000, 310, False)],
)
def test_410s_are_doubtful_from_five_hundred_answers_and_when_more_than_30_per_cent_are_gone(
    publication: Publication, answers: int, gone: int, believed: bool
) -> None:
    alert = publication.release()

    answer(publication, alert, answers, gone=publication.add_readers(gone))

    assert deactivated(publication) == (gone if believed else 0)
    assert waiting_for_ops(publication) == (0 if believed else gone)


def test_410s_that_begin_late_in_a_large_alert_are_doubtful_too(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(4_000)
    answers = count(1)
    poll = newsroom.sender.poll

    def call_the_last_gone(*options: Any) -> list[tuple[Any, Any]]:
        return [
            (token, outcome if next(answers) <= 3_000 else Gone())
            for token, outcome in poll(*options)
        ]

    monkeypatch.setattr(newsroom.sender, "poll", call_the_last_gone)
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {"audience": 4_000, "accepted": 3_000, "gone": 1_000}
    assert newsroom.gone() == 0
    assert waiting_for_ops(newsroom) == 1_000


def test_what_ops_have_applied_is_not_undone_by_the_same_alert(publication: Publication) -> None:
    ids = publication.add_readers(201)
    alert = publication.release()
    answer(publication, alert, 500, gone=ids[:200])
    assert push_services.apply_doubtful(publication.db, "mozilla") == 200

    with capture_logs() as told:
        answer(publication, alert, 1, gone=ids[200:])

    assert deactivated(publication) == 200
    assert waiting_for_ops(publication) == 1
    assert [line["event"] for line in told] == ["gone_is_doubtful"], "ops are asked again"


def test_what_ops_have_discarded_waits_for_them_when_it_comes_again(
    publication: Publication,
) -> None:
    ids = publication.add_readers(200)
    alert = publication.release()
    answer(publication, alert, 500, gone=ids)
    with publication.db.write() as session:
        push_services.discard_doubtful(session, "mozilla")

    answer(publication, alert, 2000, gone=ids[:1])

    assert deactivated(publication) == 0, "though by now it is few in a hundred"
    assert waiting_for_ops(publication) == 1


def test_one_alerts_doubtful_410s_do_not_make_anothers_doubtful(publication: Publication) -> None:
    ids = publication.add_readers(201)
    answer(publication, publication.release(), 500, gone=ids[:200])

    answer(publication, publication.release(), 500, gone=ids[200:])

    assert deactivated(publication) == 1


def test_until_ops_have_decided_what_is_too_little_to_judge_by_waits_too(
    publication: Publication,
) -> None:
    *many, second, third = publication.add_readers(202)
    doubted, small = publication.release(), publication.release()
    answer(publication, doubted, 500, gone=many)

    answer(publication, small, 10, gone=[second])

    assert (deactivated(publication), waiting_for_ops(publication)) == (0, 201)
    with publication.db.write() as session:
        push_services.discard_doubtful(session, "mozilla")
    answer(publication, small, 10, gone=[third])
    assert (deactivated(publication), waiting_for_ops(publication)) == (1, 0)

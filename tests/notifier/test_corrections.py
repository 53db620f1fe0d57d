"""Corrections through the real sender: who may have been told is told that it was wrong."""

import pytest
from newsroom import Newsroom
from publication import HOUR
from sqlalchemy import update

from notifier.db import now_of
from notifier.models import Alert, AlertKind, AlertState, Subscription


def correct(newsroom: Newsroom, alert: Alert) -> Alert:
    correction = newsroom.release("Not so", story_id=alert.story_id, kind=AlertKind.CORRECTION)
    newsroom.deliver()
    return correction


def test_who_may_have_got_the_alert_though_no_answer_came_is_told(newsroom: Newsroom) -> None:
    newsroom.opt_in(30)
    newsroom.control.set_faults([{"status": 503, "share": 0.4}, {"harm": "dropped", "share": 0.3}])
    failing, dropped = (rule["count"] for rule in newsroom.control.faults())
    assert failing > 0
    assert dropped > 0
    alert = newsroom.release()
    newsroom.deliver()
    assert newsroom.counts(alert.id) == {
        "audience": 30,
        "accepted": 30 - failing - dropped,
        "waiting": failing + dropped,
    }
    newsroom.control.set_faults([])

    correction = correct(newsroom, alert)

    expected = {"audience": 30 - failing, "accepted": 30 - failing}
    assert newsroom.counts(correction.id) == expected
    assert newsroom.alert(correction.id).state == AlertState.FINISHED


def test_who_pauses_after_the_planning_hears_of_corrections_only(newsroom: Newsroom) -> None:
    newsroom.opt_in(3)
    alert = newsroom.release()
    newsroom.deliver()
    later = newsroom.release("Another story")
    newsroom.ledger.plan()
    pause(newsroom)

    newsroom.deliver()
    correction = correct(newsroom, alert)

    assert newsroom.counts(later.id) == {"audience": 3, "left": 3}
    assert newsroom.counts(correction.id) == {"audience": 3, "accepted": 3}


def test_a_pause_that_is_over_is_none(newsroom: Newsroom) -> None:
    newsroom.opt_in(3)
    with newsroom.db.write() as session:
        session.execute(update(Subscription).values(paused_until=now_of(session)))
    alert = newsroom.release()

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 3, "accepted": 3}


@pytest.mark.parametrize("kind", [AlertKind.CORRECTION, AlertKind.WITHDRAWAL])
def test_an_update_does_not_cut_short_what_takes_something_back(
    newsroom: Newsroom, kind: AlertKind
) -> None:
    newsroom.opt_in(3)
    alert = newsroom.release()
    newsroom.deliver()
    pause(newsroom)
    taking_back = newsroom.release("Not so", story_id=alert.story_id, kind=kind)
    update_ = newsroom.release("And now", story_id=alert.story_id, kind=AlertKind.UPDATE)

    newsroom.deliver()

    assert newsroom.counts(taking_back.id) == {"audience": 3, "accepted": 3}
    assert newsroom.counts(update_.id) == {}
    assert newsroom.alert(update_.id).state == AlertState.FINISHED


def pause(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        session.execute(update(Subscription).values(paused_until=now_of(session) + HOUR))

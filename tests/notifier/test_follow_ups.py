"""What follows a story's first alert: to whom, in which order, and once."""

from typing import Any

import pytest
from newsroom import Newsroom
from publication import HOUR, Publication
from together import together

from notifier import alerts, follow_ups
from notifier.db import Database
from notifier.errors import Conflict
from notifier.follow_ups import FollowedAlready
from notifier.ledger import Ledger
from notifier.models import Alert, AlertKind, AlertState, Level

WORDS = {"title": "Bridge open again", "body": "", "url": "https://www.example.com/b"}
EDITORS = 6


def follow_up(
    db: Database, after: Alert, kind: AlertKind = AlertKind.UPDATE, by: str = "ines", **words: Any
) -> tuple[Alert, bool]:
    draft = follow_ups.draft_after(after, kind, **(WORDS | words))
    with db.write() as session:
        return follow_ups.release(session, after, draft, validity=HOUR, released_by=by)


def test_an_update_takes_the_place_of_the_alert_and_keeps_its_sections_and_picture(
    db: Database, publication: Publication
) -> None:
    image = "https://cdn.example.net/bridge.jpg"
    first = publication.release(section_bits=0b101, image=image)

    update, released = follow_up(db, first)

    assert released
    assert (update.story_id, update.revision) == (first.story_id, 2)
    assert update.kind == AlertKind.UPDATE
    assert (update.sections, update.image) == (0b101, image)
    assert publication.alert(first.id).closing_as == AlertState.SUPERSEDED


def test_an_update_is_for_those_who_want_updates_unless_it_cuts_an_alert_short(
    db: Database, publication: Publication
) -> None:
    first = publication.release(level=Level.BIGGEST)
    in_its_place, _ = follow_up(db, first)
    assert in_its_place.level == Level.BIGGEST

    with db.write() as session:
        alerts.close(session, in_its_place.id, AlertState.STOPPED)
    later, _ = follow_up(db, publication.alert(in_its_place.id), title="Traffic flows")
    assert later.level == Level.UPDATES


def test_an_update_leaves_a_correction_to_go_on_and_is_not_for_everybody_in_its_place(
    db: Database, publication: Publication
) -> None:
    first = publication.release(level=Level.BREAKING)
    correction, _ = follow_up(db, first, AlertKind.CORRECTION)
    update, _ = follow_up(db, correction, title="Traffic flows")
    assert update.level == Level.UPDATES
    assert publication.alert(correction.id).state == AlertState.RELEASED


def test_what_takes_something_back_shows_no_picture_and_is_delivered_for_a_day(
    db: Database, publication: Publication
) -> None:
    first = publication.release(image="https://cdn.example.net/bridge.jpg")

    correction, _ = follow_up(db, first, AlertKind.CORRECTION)
    withdrawal, _ = follow_up(db, correction, AlertKind.WITHDRAWAL)

    for alert in (correction, withdrawal):
        assert alert.image is None
        assert alert.expires_at - alert.released_at == follow_ups.CORRECTIONS_ARE_VALID_FOR


def test_the_same_words_again_are_answered_with_what_they_became(
    db: Database, publication: Publication
) -> None:
    first = publication.release()
    update, _ = follow_up(db, first)
    follow_up(db, update, AlertKind.CORRECTION)

    again, released = follow_up(db, first)

    assert not released
    assert again.id == update.id


@pytest.mark.parametrize("changed", [{"title": "Other"}, {"body": "Other"}, {"url": "https://x/"}])
def test_other_words_after_an_alert_that_was_followed_up_are_refused_and_say_by_what(
    db: Database, publication: Publication, changed: dict[str, str]
) -> None:
    first = publication.release()
    update, _ = follow_up(db, first)
    correction, _ = follow_up(db, update, AlertKind.CORRECTION, by="amara", title="It is closed")

    with pytest.raises(FollowedAlready, match=r"amara has sent a correction .*“It is closed”") as e:
        follow_up(db, first, **changed)

    assert e.value.newest_id == correction.id
    with db.read() as session:
        assert len(follow_ups.of_story(session, first.story_id)) == 3


def test_of_editors_who_follow_up_at_once_one_wins_and_the_others_are_told(
    db: Database, publication: Publication
) -> None:
    first = publication.release()

    def send(number: int) -> int | FollowedAlready:
        try:
            return follow_up(db, first, by=f"editor {number}", title=f"Words {number}")[0].id
        except FollowedAlready as error:
            return error

    ended = together(EDITORS, send)

    [won] = [one for one in ended if isinstance(one, int)]
    told = [one for one in ended if isinstance(one, FollowedAlready)]
    assert [error.newest_id for error in told] == [won] * (EDITORS - 1)
    with db.read() as session:
        story = follow_ups.of_story(session, first.story_id)
    assert [alert.id for alert in story] == [first.id, won]


def test_the_same_words_at_once_are_released_once(db: Database, publication: Publication) -> None:
    first = publication.release()

    ended = together(EDITORS, lambda _: follow_up(db, first))

    assert sorted(released for _, released in ended) == [False] * (EDITORS - 1) + [True]
    assert len({alert.id for alert, _ in ended}) == 1


def test_a_story_is_withdrawn_once_and_may_go_on(db: Database, publication: Publication) -> None:
    withdrawal, _ = follow_up(db, publication.release(), AlertKind.WITHDRAWAL)

    with pytest.raises(Conflict, match="withdrawn already"):
        follow_up(db, withdrawal, AlertKind.WITHDRAWAL, title="Once more")

    update, _ = follow_up(db, withdrawal)
    assert update.revision == 3


def test_a_correction_goes_to_whoever_may_have_received_the_alert(
    db: Database, newsroom: Newsroom
) -> None:
    newsroom.opt_in(3)
    first = newsroom.release()
    newsroom.deliver()
    newsroom.opt_in(2)
    draft = follow_ups.draft_after(first, AlertKind.CORRECTION, **WORDS)
    with db.read() as session:
        expected = follow_ups.audience_size(session, draft, first.story_id)

    correction, _ = follow_up(db, first, AlertKind.CORRECTION)
    newsroom.deliver()

    assert expected == 3
    assert newsroom.counts(correction.id) == {"audience": 3, "accepted": 3}


def test_an_update_goes_to_as_many_as_was_said(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    publication.add_readers(4)
    first = publication.release()
    draft = follow_ups.draft_after(first, AlertKind.UPDATE, **WORDS)
    with db.read() as session:
        expected = follow_ups.audience_size(session, draft, first.story_id)

    update, _ = follow_up(db, first)
    while ledger.plan():
        pass

    assert publication.counts(update.id).get("audience", 0) == expected

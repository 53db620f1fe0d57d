"""Following alerts up in the newsroom: updates, corrections, withdrawals."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask import Flask
from newsroom_pages import EditorsBrowser
from sqlalchemy import select

from notifier import reached
from notifier.config import Settings
from notifier.db import Database
from notifier.ledger import Ledger
from notifier.models import Alert, AlertKind, AlertState, Level, Story

BRIDGE = {
    "title": "Harbour bridge closed",
    "body": "Nobody was hurt.",
    "url": "https://www.example.com/bridge",
}
KINDS = ["update", "correction", "withdrawal"]
OFFERS = ["Send an update", "Send a correction", "Withdraw this alert"]
EDITORS = 6

OptIn = Callable[..., None]


@pytest.fixture
def editor(app: Flask, db: Database) -> EditorsBrowser:
    browser = EditorsBrowser.signed_in(app, db)
    browser.follow()
    return browser


@pytest.fixture
def opt_in(app: Flask, push_subscription: Callable[..., dict[str, Any]]) -> OptIn:
    def opt_in(name: str, level: str = "breaking") -> None:
        body = {"subscription": push_subscription(name), "level": level}
        answer = app.test_client().post("/api/v1/subscriptions", json=body)
        assert answer.status_code == 201, answer.text

    return opt_in


def page_of(alert_id: int, kind: str | None = None) -> str:
    return f"/newsroom/alerts/{alert_id}" + (f"/{kind}" if kind else "")


def send_alert(editor: EditorsBrowser, **values: Any) -> int:
    """Raise an alert as an editor does; gives its id."""
    editor.open("/newsroom/")
    editor.send("/newsroom/alerts/review", **(BRIDGE | values))
    editor.send("/newsroom/alerts")
    assert editor.page.status_code == 303
    return int(editor.page.headers["Location"].rpartition("/")[2])


def review(editor: EditorsBrowser, alert_id: int, kind: str, **words: str) -> None:
    """Go from the alert's page to the review of what follows it."""
    editor.open(page_of(alert_id))
    assert page_of(alert_id, kind) in editor.text
    editor.open(page_of(alert_id, kind))
    editor.send(f"{page_of(alert_id, kind)}/review", **words)


def send_follow_up(editor: EditorsBrowser, alert_id: int, kind: str, **words: str) -> int:
    review(editor, alert_id, kind, **words)
    assert editor.page.status_code == 200, editor.text
    editor.send(page_of(alert_id, kind))
    assert editor.page.status_code == 303, editor.text
    return int(editor.page.headers["Location"].rpartition("/")[2])


def released(db: Database) -> list[Alert]:
    with db.read() as session:
        return list(session.scalars(select(Alert).order_by(Alert.id)))


def deliver(db: Database) -> None:
    """Have everybody's push service accept what is released, up to now."""
    ledger = Ledger(db)
    while ledger.plan():
        pass
    while lease := ledger.claim():
        lease.settle_rest("accepted")
        ledger.finish(lease)


@pytest.mark.parametrize("kind", ["update", "correction"])
def test_a_follow_up_starts_from_the_alerts_words_and_goes_out_after_a_review(
    editor: EditorsBrowser, db: Database, kind: str
) -> None:
    first = send_alert(editor)
    form = editor.open(page_of(first, kind)) and editor.form(f"{page_of(first, kind)}/review")
    assert {name: form[name] for name in BRIDGE} == {name: [v] for name, v in BRIDGE.items()}

    review(editor, first, kind, title="Bridge open again")
    assert ("Correction: Bridge open again" in editor.text) is (kind == "correction")
    assert "Bridge open again" in editor.text
    assert len(released(db)) == 1
    editor.send(page_of(first, kind))

    [earlier, alert] = released(db)
    assert (alert.title, alert.kind, alert.revision) == ("Bridge open again", AlertKind(kind), 2)
    assert (alert.body, alert.url) == (BRIDGE["body"], BRIDGE["url"])
    assert alert.released_by == "ines@example.com"
    assert earlier.closing_as == AlertState.SUPERSEDED
    assert f"Your {kind} is on its way" in editor.follow().text


def test_the_words_of_a_cms_may_be_longer_than_an_editors(
    app: Flask, editor: EditorsBrowser, db: Database, bearer: dict[str, str]
) -> None:
    long = {"title": "x" * 300, "summary": "y" * 5_000, "url": BRIDGE["url"]}
    flags = {"status": "published", "breaking": True}
    app.test_client().put("/api/v1/articles/1", json=long | flags, headers=bearer)

    correction = send_follow_up(editor, released(db)[0].id, "correction")

    assert correction == released(db)[1].id


def test_a_withdrawal_has_a_plain_line_ready_without_the_headline(
    editor: EditorsBrowser, db: Database
) -> None:
    first = send_alert(editor)

    send_follow_up(editor, first, "withdrawal")

    alert = released(db)[1]
    assert alert.kind == AlertKind.WITHDRAWAL
    assert "withdrawn" in alert.title
    assert BRIDGE["title"] not in alert.title + alert.body
    assert alert.url == BRIDGE["url"]


def test_the_review_of_a_correction_says_that_it_goes_to_whoever_may_have_received_it(
    editor: EditorsBrowser, db: Database, opt_in: OptIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        opt_in(name)
    first = send_alert(editor)
    deliver(db)
    opt_in("late")

    review(editor, first, "correction")

    assert "2 readers" in editor.text
    assert "Everybody who may have received an earlier alert of this story" in editor.text
    assert "still going out" not in editor.text
    second = send_follow_up(editor, first, "correction")
    deliver(db)
    review(editor, second, "correction", title="Again")
    assert "2 readers" in editor.text
    assert "At most" not in editor.text
    monkeypatch.setattr(reached, "EXACT_UP_TO", 3)
    review(editor, second, "correction", title="Again")
    assert "At most 4 readers" in editor.text


def test_the_review_of_an_update_says_whom_it_reaches_and_what_an_iphone_does(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    opt_in("one")
    opt_in("eager", "updates")
    first = send_alert(editor)
    deliver(db)

    review(editor, first, "update")

    assert "Send the update now to 1 reader<" in editor.text
    assert "who also want updates" in editor.text
    assert "there it is a second notification, with a sound" in editor.text


def test_the_review_warns_of_the_readers_who_still_wait_for_the_earlier_alert(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    opt_in("one")
    opt_in("two")
    first = send_alert(editor)
    while Ledger(db).plan():
        pass

    review(editor, first, "update")
    assert "is still going out" in editor.text
    assert "2 readers who wait for it will get this update instead" in editor.text
    assert "Send the update now to 2 readers" in editor.text

    review(editor, first, "correction")
    assert "2 readers who wait for it will not get it any more" in editor.text
    assert "Nobody has received it so far" in editor.text


def test_only_the_newest_alert_of_a_story_offers_to_be_followed_up(editor: EditorsBrowser) -> None:
    first = send_alert(editor)
    second = send_follow_up(editor, first, "update", title="Bridge open again")

    assert all(offer in editor.open(page_of(second)).text for offer in OFFERS)
    page = editor.open(page_of(first)).text
    assert not any(offer in page for offer in OFFERS)
    assert "has taken its place" in page
    assert editor.open(page_of(first, "correction")).headers["Location"] == page_of(second)
    assert "has sent an update" in editor.follow().text


def test_the_alerts_of_a_story_are_listed_together(editor: EditorsBrowser) -> None:
    first = send_alert(editor)
    send_alert(editor, title="Elections called")
    assert "This story" not in editor.open(page_of(first)).text
    second = send_follow_up(editor, first, "update", title="Bridge open again")
    third = send_follow_up(editor, second, "correction", title="Bridge open on foot only")

    for alert_id in (first, second, third):
        story = editor.open(page_of(alert_id)).text.partition("This story")[2]
        places = [
            story.index(title)
            for title in (BRIDGE["title"], "Bridge open again", "Bridge open on foot only")
        ]
        assert places == sorted(places)
        assert "Elections called" not in story


def test_what_is_withdrawn_is_not_offered_to_be_withdrawn_again(
    editor: EditorsBrowser, db: Database
) -> None:
    withdrawn = send_follow_up(editor, send_alert(editor), "withdrawal")

    page = editor.open(page_of(withdrawn)).text
    assert [offer in page for offer in OFFERS] == [True, True, False]
    assert editor.open(page_of(withdrawn, "withdrawal")).status_code == 303
    assert "withdrawn already" in editor.follow().text


def test_a_follow_up_that_is_sent_twice_is_released_once(
    editor: EditorsBrowser, db: Database
) -> None:
    first = send_alert(editor)
    review(editor, first, "correction", title="It is open")
    form = editor.form(page_of(first, "correction"))

    answers = [editor.client.post(page_of(first, "correction"), data=form) for _ in range(2)]

    assert len(released(db)) == 2
    assert [answer.headers["Location"] for answer in answers] == [page_of(released(db)[1].id)] * 2
    assert "not sent a second time" in editor.open(answers[1].headers["Location"]).text


@pytest.mark.parametrize("at", ["review", "sending"])
def test_who_comes_second_is_told_what_was_sent_meanwhile_and_keeps_the_text(
    app: Flask, editor: EditorsBrowser, db: Database, at: str
) -> None:
    first = send_alert(editor)
    slow = EditorsBrowser.signed_in(app, db, "slow@example.com")
    slow.open(page_of(first, "correction"))
    if at == "sending":
        slow.send(f"{page_of(first, 'correction')}/review", title="The slow one's words")
    second = send_follow_up(editor, first, "update", title="The quick one's words")

    action = page_of(first, "correction") + ("/review" if at == "review" else "")
    slow.send(action, title="The slow one's words")

    assert slow.page.status_code == 409
    assert "ines@example.com has sent an update" in slow.text
    assert "“The quick one's words”" in slow.text
    assert "Nothing was sent" in slow.text
    assert len(released(db)) == 2
    # The form is now for the newest alert, and goes through the review again.
    action = f"{page_of(second, 'correction')}/review"
    assert slow.form(action)["title"] == ["The slow one's words"]
    slow.send(action)
    slow.send(page_of(second, "correction"))
    assert [alert.kind for alert in released(db)] == ["breaking", "update", "correction"]


def test_editors_who_send_at_the_same_moment_send_one_follow_up(
    settings: Settings, serve: Callable[[Settings], str], app: Flask, db: Database
) -> None:
    editor = EditorsBrowser.signed_in(app, db)
    editor.follow()
    first = send_alert(editor)
    review(editor, first, "update")
    form = editor.form(page_of(first, "update"))
    cookie = editor.client.get_cookie("newsroom")
    assert cookie is not None
    server = serve(settings)
    together = threading.Barrier(EDITORS)
    answers: list[requests.Response] = []

    def send(number: int) -> None:
        together.wait()
        answers.append(
            requests.post(
                server + page_of(first, "update"),
                data=form | {"title": [f"Words {number}"]},
                cookies={"newsroom": cookie.value},
                allow_redirects=False,
                timeout=60,
            )
        )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(EDITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(answer.status_code for answer in answers) == {303: 1, 409: EDITORS - 1}
    [_, won] = released(db)
    told = [answer.text for answer in answers if answer.status_code == 409]
    assert all(f"“{won.title}”" in text for text in told)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_sent_is_said_beside_the_field(
    editor: EditorsBrowser, db: Database, kind: str
) -> None:
    first = send_alert(editor)
    for changes, says in (
        ({"title": " "}, "Write a headline."),
        ({"url": "https://elsewhere.example.org/"}, "is not one of ARTICLE_HOSTS"),
    ):
        review(editor, first, kind, **changes)
        assert editor.page.status_code == 422
        assert says in editor.text
        editor.client.post(page_of(first, kind), data=editor.form(f"{page_of(first, kind)}/review"))
    assert len(released(db)) == 1


def test_change_it_leads_back_to_the_form_with_everything_in_it(editor: EditorsBrowser) -> None:
    first = send_alert(editor)
    review(editor, first, "update", title="Bridge open again")
    editor.send(f"{page_of(first, 'update')}/edit", form=page_of(first, "update"))
    assert editor.form(f"{page_of(first, 'update')}/review")["title"] == ["Bridge open again"]


def test_a_follow_up_written_when_the_form_was_too_old_is_there_again(
    editor: EditorsBrowser, db: Database
) -> None:
    first = send_alert(editor)
    review(editor, first, "correction", title="It is open")
    editor.send(page_of(first, "correction"), csrf_token="forged")
    assert "nothing was sent" in editor.follow().text
    assert editor.form(f"{page_of(first, 'correction')}/review")["title"] == ["It is open"]
    assert len(released(db)) == 1


def test_markup_is_text_on_every_page(editor: EditorsBrowser, db: Database) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    alert_id = send_alert(editor, title=evil, body=evil)
    pages = [editor.open(page_of(alert_id, kind)).text for kind in KINDS]
    for kind in ("update", "correction"):
        review(editor, alert_id, kind)
        pages.append(editor.page.text)
        alert_id = send_follow_up(editor, alert_id, kind)
        pages.append(editor.open(page_of(alert_id)).text)
    pages.append(editor.open(page_of(released(db)[0].id)).text)
    for page in pages:
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "style=" not in page


def test_one_of_the_biggest_stories_is_for_readers_who_want_nothing_else(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    for level in ("biggest", "breaking", "updates"):
        opt_in(level, level)
    send_alert(editor)
    assert "2 readers" in editor.open("/newsroom/audience").text
    assert "3 readers" in editor.open("/newsroom/audience?biggest=yes").text
    editor.open("/newsroom/")
    editor.send("/newsroom/alerts/review", **BRIDGE, biggest="yes")
    assert "One of the biggest stories" in editor.text
    editor.send("/newsroom/alerts/edit", form="/newsroom/alerts")
    assert editor.form("/newsroom/alerts/review")["biggest"] == ["yes"]
    editor.send("/newsroom/alerts/review")
    editor.send("/newsroom/alerts")
    assert [alert.level for alert in released(db)] == [Level.BREAKING, Level.BIGGEST]
    assert "one of the biggest" in editor.follow().text


def test_a_review_that_is_not_sent_leaves_nothing_behind(
    editor: EditorsBrowser, db: Database
) -> None:
    editor.open("/newsroom/")
    editor.send("/newsroom/alerts/review", **BRIDGE)
    with db.read() as session:
        assert session.scalars(select(Story)).all() == []
    first = editor.form("/newsroom/alerts")
    send_alert(editor, title="Elections called")
    editor.client.post("/newsroom/alerts", data=first)
    assert len({alert.story_id for alert in released(db)}) == 2

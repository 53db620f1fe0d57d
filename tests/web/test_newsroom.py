"""Raising alerts in the newsroom, watching them and stopping them."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from newsroom_pages import EditorsBrowser
from sqlalchemy import select

from notifier import alerts
from notifier.db import Database, now_of
from notifier.ledger import Ledger
from notifier.models import (
    Alert,
    AlertState,
    Article,
    ArticleStatus,
    Reaction,
    ReactionCount,
    ServiceAnswers,
)
from web.newsroom.compose import SAME_LINK_WITHIN

REVIEW = "/newsroom/alerts/review"
SEND = "/newsroom/alerts"
EDIT = "/newsroom/alerts/edit"
CLICKS = 8

BRIDGE = {
    "title": "Harbour bridge closed",
    "body": "Nobody was hurt.",
    "url": "https://www.example.com/bridge",
}

OptIn = Callable[..., None]


@pytest.fixture
def editor(app: Flask, db: Database) -> EditorsBrowser:
    browser = EditorsBrowser.signed_in(app, db)
    browser.follow()
    return browser


@pytest.fixture
def opt_in(app: Flask, push_subscription: Callable[..., dict[str, Any]]) -> OptIn:
    """Has a reader opt in through the API."""

    def opt_in(name: str, *sections: str) -> None:
        body = {"subscription": push_subscription(name), "sections": list(sections)}
        answer = app.test_client().post("/api/v1/subscriptions", json=body)
        assert answer.status_code == 201, answer.text

    return opt_in


def released(db: Database) -> list[Alert]:
    with db.read() as session:
        return list(session.scalars(select(Alert).order_by(Alert.id)))


def send_alert(editor: EditorsBrowser, **values: Any) -> int:
    """Raise an alert as an editor does; gives its id."""
    editor.open("/newsroom/")
    editor.send(REVIEW, **(BRIDGE | values))
    editor.send(SEND)
    assert editor.page.status_code == 303
    return int(editor.page.headers["Location"].rpartition("/")[2])


# ---- Raising ---------------------------------------------------------------------------------


def test_an_alert_goes_out_after_a_review_that_shows_exactly_what_and_to_how_many(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    opt_in("all")
    opt_in("politics", "politics")
    opt_in("sport", "sport")
    editor.send(REVIEW, **BRIDGE, sections=["politics"])
    assert editor.page.status_code == 200
    for shown in (*BRIDGE.values(), "Politics", "2 readers"):
        assert shown in editor.text
    assert released(db) == []

    editor.send(SEND)
    [alert] = released(db)
    assert (alert.title, alert.body, alert.url) == tuple(BRIDGE.values())
    assert alert.released_by == "ines@example.com"
    assert alert.state == AlertState.RELEASED
    assert "on its way" in editor.follow().text
    while Ledger(db).plan():
        pass
    assert "2 readers" in editor.open(f"/newsroom/alerts/{alert.id}").text


def test_a_form_that_comes_back_is_what_a_phone_shows_first(editor: EditorsBrowser) -> None:
    """A phone has the form below the list of alerts: the address leads to it."""
    assert f'action="{REVIEW}#raise"' in editor.text
    editor.send(REVIEW, **(BRIDGE | {"title": ""}))
    assert 'id="raise"' in editor.text
    editor.send(REVIEW, **BRIDGE)
    assert f'formaction="{EDIT}#raise"' in editor.text
    editor.send(EDIT, form=SEND)
    assert 'id="raise"' in editor.text


def test_the_form_says_how_many_readers_the_ticked_sections_reach(
    editor: EditorsBrowser, opt_in: OptIn
) -> None:
    assert "0 readers" in editor.open("/newsroom/audience").text
    opt_in("all")
    assert "1 reader<" in editor.open("/newsroom/audience").text
    opt_in("sport", "sport")
    assert "2 readers" in editor.open("/newsroom/audience").text
    assert "1 reader<" in editor.open("/newsroom/audience?sections=politics").text
    assert "2 readers" in editor.open("/newsroom/audience?sections=politics&sections=sport").text


def test_a_review_that_is_sent_twice_releases_one_alert(
    editor: EditorsBrowser, db: Database
) -> None:
    editor.send(REVIEW, **BRIDGE)
    form = editor.form(SEND)
    first = editor.client.post(SEND, data=form)
    second = editor.client.post(SEND, data=form)
    assert first.status_code == second.status_code == 303
    assert first.headers["Location"] == second.headers["Location"]
    assert len(released(db)) == 1
    assert "not sent a second time" in editor.open(second.headers["Location"]).text


def test_clicks_at_the_same_moment_release_one_alert(
    app: Flask, editor: EditorsBrowser, db: Database
) -> None:
    editor.send(REVIEW, **BRIDGE)
    form = editor.form(SEND)
    cookie = editor.client.get_cookie("newsroom")
    assert cookie is not None
    together = threading.Barrier(CLICKS)
    answers: list[tuple[int, str]] = []

    def click() -> None:
        client = app.test_client()
        client.set_cookie("newsroom", cookie.value)
        together.wait()
        answer = client.post(SEND, data=form)
        answers.append((answer.status_code, answer.headers["Location"]))

    threads = [threading.Thread(target=click) for _ in range(CLICKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [alert] = released(db)
    assert answers == [(303, f"/newsroom/alerts/{alert.id}")] * CLICKS


def test_a_review_says_that_there_is_an_alert_with_the_same_link(
    editor: EditorsBrowser, db: Database
) -> None:
    """Such as that of a review which is loaded again, or one that the CMS has raised."""
    warning = "There is an alert with this link already"
    editor.send(REVIEW, **BRIDGE)
    assert warning not in editor.text
    editor.send(SEND)
    alert_id = int(editor.page.headers["Location"].rpartition("/")[2])
    again = BRIDGE | {"title": "The harbour bridge is closed"}
    editor.open("/newsroom/")
    editor.send(REVIEW, **again)
    assert warning in editor.text
    assert f'href="/newsroom/alerts/{alert_id}"' in editor.text
    assert BRIDGE["title"] in editor.text

    editor.open("/newsroom/")
    editor.send(REVIEW, **(again | {"url": "https://www.example.com/tunnel"}))
    assert warning not in editor.text
    with db.write() as session:
        alerts.get(session, alert_id).released_at -= SAME_LINK_WITHIN
    editor.open("/newsroom/")
    editor.send(REVIEW, **again)
    assert warning not in editor.text


def test_every_review_can_send_an_alert_of_its_own(editor: EditorsBrowser, db: Database) -> None:
    assert send_alert(editor) != send_alert(editor)
    assert [alert.state for alert in released(db)] == [AlertState.RELEASED] * 2


def test_a_forged_review_sends_nothing(editor: EditorsBrowser, db: Database) -> None:
    editor.send(REVIEW, **BRIDGE)
    editor.send(SEND, review="1")
    assert editor.page.status_code == 409
    assert "Look at the alert once more" in editor.text
    assert released(db) == []
    editor.send(SEND)
    assert len(released(db)) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"title": "  "}, "Write a headline."),
        ({"title": "x" * 201}, "Shorten the headline"),
        ({"body": "x" * 501}, "Shorten the text"),
        ({"url": ""}, "Paste the link"),
        ({"url": "javascript:alert(1)"}, "The link must"),
        ({"url": "http://www.example.com/"}, "must begin with https://"),
        ({"url": "https://elsewhere.example.org/"}, "is not one of ARTICLE_HOSTS"),
        ({"sections": ["no-such-section"]}, "Choose from these sections"),
    ],
)
def test_what_cannot_be_sent_is_said_beside_the_field_and_the_input_stays(
    editor: EditorsBrowser, db: Database, changes: dict[str, Any], says: str
) -> None:
    values = BRIDGE | changes
    editor.send(REVIEW, **values)
    assert editor.page.status_code == 422
    assert says in editor.text
    form = editor.form(REVIEW)
    for name in ("title", "body", "url"):
        assert form[name] == [values[name].strip()]
    assert released(db) == []


def test_sending_checks_again_what_the_review_has_checked(
    editor: EditorsBrowser, db: Database
) -> None:
    editor.send(REVIEW, **BRIDGE)
    editor.send(SEND, url="https://elsewhere.example.org/")
    assert editor.page.status_code == 422
    assert released(db) == []


def test_change_it_leads_back_to_the_form_with_everything_in_it(editor: EditorsBrowser) -> None:
    editor.send(REVIEW, **BRIDGE, sections=["sport", "world"])
    editor.send(EDIT, form=SEND)
    form = editor.form(REVIEW)
    assert {name: form[name] for name in BRIDGE} == {n: [v] for n, v in BRIDGE.items()}
    assert sorted(form["sections"]) == ["sport", "world"]


def test_a_headline_is_one_line_of_printable_text(editor: EditorsBrowser, db: Database) -> None:
    send_alert(editor, title=" Bridge\r\n closed\x00\x1b now ")
    assert released(db)[0].title == "Bridge closed now"


# ---- Watching --------------------------------------------------------------------------------


def test_markup_in_titles_is_text_on_every_page(editor: EditorsBrowser, db: Database) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    with db.write() as session:
        session.add(
            Article(
                id=evil,
                url="https://www.example.com/",
                title=evil,
                summary=evil,
                sections=[],
                status=ArticleStatus.PUBLISHED,
                breaking=False,
                revision=0,
                updated_at=now_of(session),
            )
        )
    editor.send(REVIEW, **BRIDGE | {"title": evil, "body": evil})
    pages = [editor.page.text]
    editor.send(SEND)
    pages += [editor.follow().text, editor.open("/newsroom/").text]
    pages.append(editor.open("/newsroom/articles/latest").text)
    for page in pages:
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "onerror=alert(1)>" not in page


def test_pages_have_no_inline_scripts_or_styles(editor: EditorsBrowser) -> None:
    alert_id = send_alert(editor)
    for path in ("/newsroom/", f"/newsroom/alerts/{alert_id}"):
        page = editor.open(path)
        assert page.status_code == 200
        assert " style=" not in page.text
        assert "<style" not in page.text
        assert " onclick=" not in page.text
        assert page.text.count("<script") == page.text.count("<script src=")


def test_an_alert_that_goes_out_is_fetched_anew_until_it_has_ended(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    opt_in("reader")
    alert_id = send_alert(editor)
    path = f"/newsroom/alerts/{alert_id}/progress"
    going_out = editor.open(path).text
    assert f'hx-get="{path}"' in going_out
    assert 'hx-trigger="every 1s"' in going_out
    assert "hx-swap-oob" not in going_out

    with db.write() as session:
        alerts.stop(session, alert_id)
    while Ledger(db).plan():
        pass
    ended = editor.open(path).text
    assert "hx-trigger" not in ended
    assert "Stopped" in ended
    # The button stands beside what is fetched; it goes when there is nothing left to stop.
    assert f'<form id="stop-{alert_id}" hx-swap-oob="delete">' in ended


def test_the_list_is_sent_only_when_there_is_a_newer_alert(editor: EditorsBrowser) -> None:
    assert editor.open("/newsroom/alerts/latest?newest=0").status_code == 204
    alert_id = send_alert(editor)
    assert BRIDGE["title"] in editor.open("/newsroom/alerts/latest?newest=0").text
    assert editor.open(f"/newsroom/alerts/latest?newest={alert_id}").status_code == 204


def test_an_article_of_the_cms_is_listed_with_its_alert(
    app: Flask, editor: EditorsBrowser, bearer: dict[str, str]
) -> None:
    article = {"url": BRIDGE["url"], "title": "Storm over the coast", "status": "published"}
    put = app.test_client().put
    assert put("/api/v1/articles/1", json=article, headers=bearer).status_code == 201
    page = editor.open("/newsroom/articles/latest").text
    assert "Storm over the coast" in page
    assert "/newsroom/alerts/" not in page
    put("/api/v1/articles/1", json=article | {"breaking": True}, headers=bearer)
    page = editor.open("/newsroom/articles/latest").text
    assert "breaking" in page
    assert "/newsroom/alerts/1" in page


def test_an_alert_that_does_not_exist_is_a_404(editor: EditorsBrowser) -> None:
    for path in ("/newsroom/alerts/99", "/newsroom/alerts/99/progress"):
        assert editor.open(path).status_code == 404


def test_what_browsers_report_is_shown_as_an_estimate(editor: EditorsBrowser, db: Database) -> None:
    alert_id = send_alert(editor)
    page = f"/newsroom/alerts/{alert_id}"
    assert "What browsers report" not in editor.open(page).text
    with db.write() as session:
        alerts.get(session, alert_id).count_rate = 0.25
        for browser, reaction, reports in (
            ("chrome", Reaction.SHOWN, 300),
            ("firefox", Reaction.SHOWN, 10),
            ("firefox", Reaction.CLICKED, 3),
        ):
            session.add(
                ReactionCount(
                    alert_id=alert_id, reaction=reaction, browser=browser, reports=reports
                )
            )
    shown = " ".join(re.sub("<[^>]+>", " ", editor.open(page).text).split())
    assert "Chrome 1,200 0 Firefox 40 12 Together 1,240 12" in shown
    assert "25% of the browsers are asked, and 310 have reported it shown, 3 opened" in shown


def test_what_windows_took_and_threw_away_is_shown_beside_what_was_accepted(
    editor: EditorsBrowser, db: Database
) -> None:
    alert_id = send_alert(editor)
    page = f"/newsroom/alerts/{alert_id}"
    assert "Thrown away" not in editor.open(page).text
    with db.write() as session:
        for name, dropped in (("fcm", 0), ("wns", 4)):
            session.add(
                ServiceAnswers(
                    alert_id=alert_id, push_service=name, answers=9, gone=0, dropped=dropped
                )
            )
    shown = " ".join(re.sub("<[^>]+>", " ", editor.open(page).text).split())
    assert "Thrown away 4 by WNS: accepted, but" in shown


# ---- Stopping --------------------------------------------------------------------------------


def test_stop_says_how_many_have_it_already(
    editor: EditorsBrowser, db: Database, opt_in: OptIn
) -> None:
    for name in ("one", "two", "three"):
        opt_in(name)
    alert_id = send_alert(editor)
    while Ledger(db).plan():
        pass
    editor.open("/newsroom/")
    editor.send(f"/newsroom/alerts/{alert_id}/stop")
    page = editor.follow()
    assert "Stopped. 0 readers have it already, and nobody else will get it." in page.text
    assert released(db)[0].state == AlertState.STOPPED


def test_stopping_what_has_ended_says_so(editor: EditorsBrowser, db: Database) -> None:
    alert_id = send_alert(editor)
    stop = f"/newsroom/alerts/{alert_id}/stop"
    editor.open(f"/newsroom/alerts/{alert_id}")
    form = editor.form(stop)
    editor.client.post(stop, data=form)
    again = editor.client.post(stop, data=form)
    assert again.status_code == 303
    assert "nothing left to stop" in editor.open(again.headers["Location"]).text
    assert [alert.closing_as for alert in released(db)] == [AlertState.STOPPED]


def test_an_alert_cannot_be_stopped_from_another_site(editor: EditorsBrowser, db: Database) -> None:
    alert_id = send_alert(editor)
    answer = editor.client.post(f"/newsroom/alerts/{alert_id}/stop")
    assert answer.status_code == 400
    assert released(db)[0].state == AlertState.RELEASED


def test_a_form_without_its_token_sends_nothing_and_keeps_the_text(
    editor: EditorsBrowser, db: Database
) -> None:
    editor.send(REVIEW, **BRIDGE, sections=["sport"])
    editor.send(SEND, csrf_token="forged")
    page = editor.follow()
    assert "nothing was sent" in page.text
    form = editor.form(REVIEW)
    assert form["title"] == [BRIDGE["title"]]
    assert form["sections"] == ["sport"]
    assert released(db) == []

"""Who gets into the newsroom, for how long, and how they get out."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from newsroom_pages import EMAIL, PASSWORD, EditorsBrowser
from sqlalchemy import select

from notifier import editors
from notifier.config import Settings
from notifier.db import Database
from notifier.models import Editor
from web.newsroom.drafts import LONGEST_BODY

SIGN_IN = "/newsroom/sign-in"
HOME = "/newsroom/"


@pytest.fixture
def editor(app: Flask, db: Database) -> EditorsBrowser:
    """A browser in which an editor is signed in."""
    return EditorsBrowser.signed_in(app, db)


@pytest.fixture
def stranger(app: Flask) -> EditorsBrowser:
    return EditorsBrowser(app)


def link_for(db: Database, email: str = EMAIL) -> str:
    with db.write() as session:
        return f"/newsroom/welcome/{editors.invite(session, email)}"


def sign_in(browser: EditorsBrowser, password: str = PASSWORD, path: str = SIGN_IN) -> int:
    browser.open(path)
    return browser.send(SIGN_IN, email=EMAIL, password=password).status_code


# ---- One-time links --------------------------------------------------------------------------


def test_looking_at_a_link_does_not_use_it_up(db: Database, stranger: EditorsBrowser) -> None:
    link = link_for(db)
    for _ in range(3):
        assert stranger.open(link).status_code == 200
    assert EMAIL in stranger.text
    assert stranger.open(HOME).status_code == 303


def test_a_link_signs_in_once(app: Flask, db: Database, stranger: EditorsBrowser) -> None:
    link = link_for(db)
    stranger.open(link)
    stranger.send("", password=PASSWORD)
    assert "you are signed in" in stranger.follow().text
    assert stranger.open(HOME).status_code == 200

    another = EditorsBrowser(app)
    assert another.open(link).status_code == 404
    assert "has been used already" in another.text
    assert "ask whoever runs this service for a new link" in another.text
    assert SIGN_IN in another.text
    # Who is signed in needs no link, and is told so instead.
    assert f"signed in as <strong>{EMAIL}" in stranger.open(link).text


def test_a_short_password_leaves_the_link_as_it_was(db: Database, stranger: EditorsBrowser) -> None:
    stranger.open(link_for(db))
    stranger.send("", password="too short")
    assert stranger.page.status_code == 422
    assert "at least 10 characters" in stranger.text
    stranger.send("", password=PASSWORD)
    assert stranger.page.status_code == 303


# ---- Passwords -------------------------------------------------------------------------------


def test_an_editor_signs_in_with_the_password(
    editor: EditorsBrowser, stranger: EditorsBrowser
) -> None:
    assert sign_in(stranger) == 303
    assert EMAIL in stranger.follow().text


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    editor: EditorsBrowser, stranger: EditorsBrowser, email: str
) -> None:
    stranger.open(SIGN_IN)
    stranger.send(SIGN_IN, email=email, password="not the password")
    assert stranger.page.status_code == 401
    assert "do not belong together" in stranger.text
    assert stranger.form(SIGN_IN)["email"] == [email]
    assert stranger.open(HOME).status_code == 303


def test_an_editor_without_a_password_cannot_sign_in_with_an_empty_one(
    db: Database, stranger: EditorsBrowser
) -> None:
    link_for(db)
    assert sign_in(stranger, password="") == 401


def test_guessing_passwords_is_slowed_down_and_harms_no_other_address(
    app: Flask, editor: EditorsBrowser
) -> None:
    guesser = EditorsBrowser(app, "198.51.100.7")
    answers = [sign_in(guesser, f"guess number {n}") for n in range(12)]
    assert answers == [401] * 10 + [429] * 2
    assert sign_in(EditorsBrowser(app, "198.51.100.8")) == 303


def test_signing_in_often_is_no_guessing(app: Flask, editor: EditorsBrowser) -> None:
    office = "198.51.100.9"
    assert {sign_in(EditorsBrowser(app, office)) for _ in range(12)} == {303}


@pytest.mark.parametrize(
    ("wanted", "comes_to"),
    [
        ("/newsroom/alerts/7", "/newsroom/alerts/7"),
        ("https://evil.example/newsroom/", HOME),
        ("//evil.example/newsroom/", HOME),
        ("/newsroom/\\evil.example", HOME),
        ("/somewhere", HOME),
    ],
)
def test_signing_in_leads_to_the_page_that_was_asked_for_inside_the_newsroom_only(
    editor: EditorsBrowser, stranger: EditorsBrowser, wanted: str, comes_to: str
) -> None:
    stranger.open(SIGN_IN)
    stranger.send(SIGN_IN, email=EMAIL, password=PASSWORD, next=wanted)
    assert stranger.page.headers["Location"] == comes_to


# ---- Sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "alerts/1", "alerts/latest", "articles/latest", "audience"])
def test_without_a_session_every_page_leads_to_the_sign_in(
    stranger: EditorsBrowser, path: str
) -> None:
    assert stranger.open(f"{HOME}{path}").status_code == 303
    assert stranger.page.headers["Location"].startswith(SIGN_IN)


def test_a_poll_without_a_session_is_told_so_in_its_place_and_stops(
    stranger: EditorsBrowser,
) -> None:
    answer = stranger.open("/newsroom/alerts/1/progress", HX_Request="true")
    assert answer.status_code == 286
    assert "You have been signed out" in answer.text


def test_nothing_of_an_earlier_session_remains(editor: EditorsBrowser, app: Flask) -> None:
    """Else somebody who planted a session in a browser would know its CSRF token afterwards."""
    planted = EditorsBrowser(app)
    planted.open(SIGN_IN)
    with planted.client.session_transaction() as session:
        session["planted"] = "yes"
        token_before = session["csrf_token"]
    sign_in(planted)
    planted.follow()
    with planted.client.session_transaction() as session:
        assert "planted" not in session
        assert session["csrf_token"] != token_before


def test_the_cookie_is_for_this_site_and_not_for_scripts(editor: EditorsBrowser) -> None:
    editor.client.delete_cookie("newsroom")
    sign_in(editor)
    cookie = editor.page.headers["Set-Cookie"]
    assert cookie.startswith("newsroom=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


def test_on_https_the_cookie_cannot_come_from_elsewhere(
    settings: Settings, make_app: Callable[[Settings], Flask], editor: EditorsBrowser
) -> None:
    https = settings.model_copy(update={"public_url": "https://alerts.example.com"})
    browser = EditorsBrowser(make_app(https))
    cookie = browser.open(SIGN_IN).headers["Set-Cookie"]
    assert cookie.startswith("__Host-newsroom=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))


def test_browsers_and_proxies_that_leave_out_referer_and_host_can_sign_in_over_https(
    settings: Settings, make_app: Callable[[Settings], Flask], editor: EditorsBrowser
) -> None:
    here = {"public_url": "https://alerts.example.com", "trusted_proxies": 1}
    browser = EditorsBrowser(make_app(settings.model_copy(update=here)))
    browser.client.environ_base |= {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_HOST": "10.0.0.7:8000"}
    assert sign_in(browser) == 303
    assert browser.follow().status_code == 200


def test_a_session_lasts_twelve_hours_however_busy_it_is(app: Flask, db: Database) -> None:
    start = datetime(2030, 5, 1, 6, 0, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        browser = EditorsBrowser.signed_in(app, db)
    for hours in (4, 8, 11.9):
        with time_machine.travel(start + timedelta(hours=hours), tick=False):
            assert browser.open(HOME).status_code == 200
    with time_machine.travel(start + timedelta(hours=12.1), tick=False):
        assert browser.open(HOME).status_code == 303


def test_a_new_password_ends_the_sessions_of_the_old_one(
    app: Flask, db: Database, editor: EditorsBrowser
) -> None:
    other = EditorsBrowser(app)
    other.open(link_for(db))
    assert editor.open(HOME).status_code == 200
    other.send("", password="another bridge at dusk")
    assert other.open(HOME).status_code == 200
    assert editor.open(HOME).status_code == 303


def test_an_editor_who_is_removed_is_out_at_once(db: Database, editor: EditorsBrowser) -> None:
    assert editor.open(HOME).status_code == 200
    with db.write() as session:
        editors.remove(session, f" {EMAIL.upper()} ")
    assert editor.open(HOME).status_code == 303


def test_signing_out_ends_the_session(editor: EditorsBrowser) -> None:
    editor.open(HOME)
    editor.send("/newsroom/sign-out")
    assert "You are signed out" in editor.follow().text
    assert editor.open(HOME).status_code == 303


def test_another_site_can_neither_sign_in_nor_out(
    editor: EditorsBrowser, stranger: EditorsBrowser
) -> None:
    assert editor.client.get("/newsroom/sign-out").status_code == 405
    assert editor.client.post("/newsroom/sign-out").status_code == 400
    assert editor.open(HOME).status_code == 200
    forged = stranger.client.post(SIGN_IN, data={"email": EMAIL, "password": PASSWORD})
    assert forged.status_code == 400
    assert stranger.open(HOME).status_code == 303


@pytest.mark.parametrize("cookie_is_left", [True, False])
def test_an_alert_written_when_the_session_ended_is_there_after_signing_in(
    app: Flask, db: Database, editor: EditorsBrowser, cookie_is_left: bool
) -> None:
    editor.open(HOME)
    title, body = "Bridge closed", "س" * LONGEST_BODY
    form = editor.form("/newsroom/alerts/review") | {"title": title, "body": body}
    if cookie_is_left:
        with db.write() as session:  # whom a new password has signed out
            session.scalars(select(Editor)).one().password_hash = editors._hasher.hash("another")
    else:
        editor.client.delete_cookie("newsroom")
    editor.page = editor.client.post("/newsroom/alerts/review", data=form)
    assert editor.page.status_code == 401
    assert "nothing was sent. Sign in, and your text is here again." in editor.text
    editor.send(SIGN_IN, email=EMAIL, password="another" if cookie_is_left else PASSWORD)
    editor.follow()
    form = editor.form("/newsroom/alerts/review")
    assert (form["title"], form["body"]) == ([title], [body])

"""axe-core finds nothing serious on any page of the service, on phones and desktops, in the
reader's light or dark, nor in any state of the prompt; panel and guide have tests of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe import CONTRAST, serious_problems
from chromium import Chromium, Scheme
from newsroom_site import (
    add_alert,
    add_article,
    add_readers,
    follow_up,
    invite,
    serving,
)
from publisher import NONCE, Site
from publisher_page import CARD, IS_STILL, YES, open_prompt

from notifier.config import Settings
from notifier.db import Database
from notifier.embed import embed
from notifier.models import AlertKind
from notifier.rehearsal.deployment import free_port

pytestmark = pytest.mark.browser

EMAIL, PASSWORD = "ines@example.com", "a bridge at dawn"
LONG_TITLE = "Harbour bridge closed after barge strikes pier in Marlow Quay"
SCREENS = {"desktop": (1100, 780), "phone": (390, 780)}
SCHEMES: tuple[tuple[Scheme, tuple[str, ...]], ...] = (("light", ()), ("dark", (CONTRAST,)))

Look = Callable[[str], None]


@pytest.fixture
def chromium(shared_chromium: Chromium) -> Iterator[Chromium]:
    yield shared_chromium
    shared_chromium.tidy_up()


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Which database it is shows on no page."""
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"port": free_port(), "broker_port": free_port()})


@pytest.fixture
def origin(settings: Settings) -> Iterator[str]:
    with serving(settings) as origin:
        yield origin


@pytest.fixture
def look(chromium: Chromium, tmp_path: Path) -> Iterator[Look]:
    """Looks at the page that is open, and in the end tells of all that was found."""
    problems: dict[str, list[str]] = {}

    def look(name: str) -> None:
        for screen, size in SCREENS.items():
            for scheme, rules in SCHEMES:
                chromium.prefer(scheme)
                chromium.screenshot(tmp_path / f"{name} {screen} {scheme}.png", *size)
                if found := serious_problems(chromium, *rules):
                    problems[f"{name}, {screen}, {scheme}"] = found

    yield look
    assert problems == {}


def fill(browser: Chromium, **values: str) -> None:
    for name, value in values.items():
        browser.evaluate(f"void (document.getElementsByName({name!r})[0].value = {value!r})")


def send(browser: Chromium, button: str) -> None:
    """Sends the form, and waits for the page that answers."""
    browser.evaluate("void (document.isOld = true)")
    browser.click(button)
    browser.wait_for("document.readyState === 'complete' && !document.isOld")


def sign_in(browser: Chromium, origin: str, link: str) -> None:
    browser.open(origin + link)
    fill(browser, password=PASSWORD)
    send(browser, "button.wide")


def test_coming_in(chromium: Chromium, origin: str, db: Database, look: Look) -> None:
    link = invite(db, EMAIL)
    chromium.open(f"{origin}/newsroom/sign-in")
    look("sign-in")
    fill(chromium, email=EMAIL, password="a guess")
    send(chromium, "button.wide")
    assert "do not belong together" in chromium.text()
    look("sign-in refused")

    chromium.open(origin + link)
    look("link")
    chromium.evaluate("void document.querySelector('form').setAttribute('novalidate', '')")
    fill(chromium, password="short")
    send(chromium, "button.wide")
    assert "at least 10 characters" in chromium.text()
    look("link refused")
    sign_in(chromium, origin, link)
    chromium.open(origin + link)
    assert "you need none" in chromium.text()
    look("link used, signed in")
    send(chromium, ".account button")
    look("signed out")
    chromium.open(origin + link)
    assert "Sign in with your password" in chromium.text()
    look("link used")


def test_raising_an_alert(chromium: Chromium, origin: str, db: Database, look: Look) -> None:
    sign_in(chromium, origin, invite(db, EMAIL))
    look("newsroom empty")
    add_readers(db, 40)
    add_article(db, LONG_TITLE)
    add_alert(db, "Ferry back in service", sent=True)
    add_alert(db, LONG_TITLE, sent=False)
    chromium.open(f"{origin}/newsroom/")
    look("newsroom")

    fill(chromium, title=LONG_TITLE, body="Nobody was hurt.", url="ftp://example.com")
    send(chromium, "form[data-compose] .main")
    assert "Nothing was sent" in chromium.text()
    look("compose refused")
    fill(chromium, url="https://www.example.com/bridge")
    send(chromium, "form[data-compose] .main")
    assert "Send this alert?" in chromium.text()
    look("review")
    send(chromium, "form .main")
    assert "Your alert is on its way" in chromium.text()
    look("sent")
    send(chromium, ".stop button")
    assert "0 readers have it already" in chromium.text()
    look("stopped")


def test_following_up(chromium: Chromium, origin: str, db: Database, look: Look) -> None:
    sign_in(chromium, origin, invite(db, EMAIL))
    add_readers(db, 40)
    alert = add_alert(db, LONG_TITLE, sent=True)
    page = f"{origin}/newsroom/alerts/{alert}"
    chromium.open(page)
    assert "What browsers report" in chromium.text()
    look("alert ended")
    for kind in ("update", "correction", "withdrawal"):
        chromium.open(f"{page}/{kind}")
        look(kind)
        fill(chromium, title="The bridge is open", url="ftp://example.com")
        send(chromium, "form[data-compose] .main")
        assert "Nothing was sent" in chromium.text()
        look(f"{kind} refused")
        fill(chromium, url="https://www.example.com/bridge")
        send(chromium, "form[data-compose] .main")
        look(f"{kind} review")

    follow_up(db, alert, AlertKind.CORRECTION, "Correction: the harbour bridge is open")
    send(chromium, "form .main:not([formaction])")  # too late: the other one was first
    assert "Nothing was sent" in chromium.text()
    look("withdrawal too late")
    chromium.open(page)
    assert "has taken its place" in chromium.text()
    look("alert superseded")
    chromium.open(f"{origin}/newsroom/alerts/{alert + 1}")
    assert "Sending" in chromium.text()
    look("correction in progress")


def test_errors(chromium: Chromium, origin: str, db: Database, look: Look) -> None:
    chromium.open(f"{origin}/nothing-here")
    assert "There is nothing at this address" in chromium.text()
    look("404")
    sign_in(chromium, origin, invite(db, EMAIL))
    chromium.open(f"{origin}/newsroom/alerts/1/stop")
    look("405")
    add_alert(db, LONG_TITLE, sent=False)
    chromium.open(f"{origin}/newsroom/")
    fill(chromium, csrf_token="forged")
    send(chromium, ".account button")
    assert "This form is too old" in chromium.text()
    look("400")
    chromium.open(f"{origin}/newsroom/")
    chromium.evaluate("void document.querySelector('#body').removeAttribute('maxlength')")
    fill(chromium, title="x", url="https://www.example.com/", body="x" * 70_000)
    send(chromium, "form[data-compose] .main")
    look("413")

    chromium.open(f"{origin}/newsroom/")
    send(chromium, ".account button")
    fill(chromium, email=EMAIL, password="a guess")
    form = "{ method: 'POST', body: new FormData(document.querySelector('main form')) }"
    guesses = f"Promise.all(Array.from({{ length: 10 }}, () => fetch('/newsroom/sign-in', {form})))"
    chromium.evaluate(f"{guesses}.then(() => true)")
    send(chromium, "button.wide")
    assert "Too many requests" in chromium.text()
    look("429")


def test_a_service_that_is_not_set_up(
    chromium: Chromium, settings: Settings, tmp_path: Path, look: Look
) -> None:
    empty = {"database_url": f"sqlite:///{tmp_path / 'empty.sqlite3'}"}
    with serving(settings.model_copy(update=empty)) as origin:
        chromium.open(f"{origin}/newsroom/welcome/link")
        assert "503" in chromium.text()
        look("503")


def test_what_is_open_to_everybody(chromium: Chromium, origin: str, look: Look) -> None:
    chromium.open(f"{origin}/api/v1/docs")
    look("API")
    chromium.open(f"{origin}/")
    look("sample article")


WAITING = "Notification.requestPermission = () => new Promise(() => {});"
DISMISSED = "Notification.requestPermission = async () => 'default';"
DENIED = "Notification.requestPermission = async () => 'denied';"
FAILED = "PushManager.prototype.subscribe = () => Promise.reject(new Error('no push service'));"


@pytest.mark.service
@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("browsers_part", [WAITING, DISMISSED, DENIED, FAILED, ""])
def test_every_state_of_the_prompt(
    chromium: Chromium, site: Site, look: Look, browsers_part: str, language: str
) -> None:
    """How the browser answers is told to the page here; that it does so is tested elsewhere."""

    def look_when_still(name: str) -> None:
        chromium.wait_for(IS_STILL)
        look(name)

    head = f"<script nonce={NONCE}>{browsers_part}</script>"
    open_prompt(chromium, site.put_page(head=head, language=language))
    look_when_still("prompt")
    chromium.answer_permission("granted")
    chromium.click(YES)
    if browsers_part == WAITING:
        look_when_still("asking")
    chromium.wait_for(f"{CARD}.querySelector('[data-action=close]') !== null")
    look_when_still("answer")


@pytest.mark.service
def test_the_ready_made_page_of_choices(
    chromium: Chromium, site: Site, look: Look, tmp_path: Path
) -> None:
    embed(tmp_path, site.service, "The Hill Valley Telegraph")
    chromium.open(site.put("/notifications.html", (tmp_path / "notifications.html").read_text()))
    root = "document.querySelector('notifier-preferences').shadowRoot"
    chromium.wait_for(f"{root}?.querySelector('#offer') != null")
    look("choices, not subscribed")
    chromium.answer_permission("granted")
    chromium.click("notifier-preferences >>> #offer")
    chromium.wait_for(f"{root}.querySelector('#stop') !== null")
    chromium.click("notifier-preferences >>> summary")
    look("choices")

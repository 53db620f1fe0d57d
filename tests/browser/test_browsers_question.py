"""The browser's own question, answered where a reader answers it: Firefox's by its door-hanger,
Chromium's by the keyboard in a real window, as a headless one asks nothing."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from browser import Browser
from chromium import Chromium
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush
from publisher import Site
from publisher_page import CARD, YES, open_prompt, open_without_prompt
from stored import age
from virtual_screen import VirtualScreen

from notifier.rehearsal.push_service import PushService

pytestmark = [pytest.mark.browser, pytest.mark.service]

# Where Chromium's question covers the page: left, top, right, bottom.
QUESTION = (150, 170, 440, 240)
# Its keys: it opens without a focus, and its first button closes it.
CLOSE = ("Tab", "Return")
BLOCK = ("Tab", "Tab", "Return")
ALLOW = ("Tab", "Tab", "Tab", "Return")

POINTED_TO = f"{CARD}.textContent.includes('click the bell')"
BLOCKED = f"{CARD}.textContent.includes('Notifications are blocked')"
ANOTHER_TIME = f"{CARD}.textContent.includes('Maybe another time')"
ALL_SET = f"{CARD}.textContent.includes('You are all set')"


@pytest.fixture(scope="module")
def firefox(mozilla_push: PushService) -> Iterator[Firefox]:
    with Desktop() as desktop, Firefox(mozilla_push.origin, desktop) as firefox:
        yield firefox


@pytest.fixture(scope="module")
def monitor() -> Iterator[VirtualScreen]:
    with VirtualScreen() as monitor:
        yield monitor


@pytest.fixture(scope="module")
def chromium(google_push: GooglePush, monitor: VirtualScreen) -> Iterator[Chromium]:
    with Desktop() as desktop:
        window = monitor.environment()
        with Chromium(google_push, desktop, window, headed=True) as chromium:
            yield chromium


def say_yes(chromium: Chromium, monitor: VirtualScreen) -> None:
    """Says "Yes please", and waits until Chromium's question is on the screen."""
    before = monitor.wait_until_still(*QUESTION)
    chromium.click(YES)
    monitor.wait_until_still(*QUESTION, unlike=before)
    assert told(chromium) == ["ready", "prompted", "accepted"]


def told(browser: Browser) -> list[str]:
    return list(browser.evaluate("told"))


@pytest.mark.parametrize("keys", [("Escape",), CLOSE])
def test_chromiums_question_closed_is_a_no_for_a_while(
    chromium: Chromium, monitor: VirtualScreen, site: Site, keys: tuple[str, ...]
) -> None:
    page = site.put_page()
    open_prompt(chromium, page)
    say_yes(chromium, monitor)
    monitor.press(*keys)
    chromium.wait_for(ANOTHER_TIME)
    assert told(chromium)[3:] == ["declined"]
    assert chromium.evaluate("Notification.permission") == "default"

    open_without_prompt(chromium, page)
    age(chromium, "declined", "at", timedelta(days=7, hours=1))
    open_prompt(chromium, page)


def test_chromiums_question_blocked_is_the_last(
    chromium: Chromium, monitor: VirtualScreen, site: Site
) -> None:
    page = site.put_page()
    open_prompt(chromium, page)
    say_yes(chromium, monitor)
    monitor.press(*BLOCK)
    chromium.wait_for(BLOCKED)
    assert "left of the address" in chromium.text()
    assert told(chromium)[3:] == ["denied"]
    open_without_prompt(chromium, page)


def test_chromiums_question_is_pointed_to_until_it_is_answered(
    chromium: Chromium, monitor: VirtualScreen, site: Site
) -> None:
    open_prompt(chromium, site.put_page())
    say_yes(chromium, monitor)
    chromium.wait_for(POINTED_TO)
    assert chromium.evaluate("Notification.permission") == "default"
    monitor.press(*ALLOW)
    chromium.wait_for(ALL_SET)
    assert told(chromium)[3:] == ["subscribed"]


def test_firefoxs_question_is_pointed_to_until_it_is_answered(firefox: Firefox, site: Site) -> None:
    open_prompt(firefox, site.put_page())
    firefox.click(YES)
    firefox.wait_for(POINTED_TO)
    assert firefox.evaluate("Notification.permission") == "default"
    firefox.answer_permission("granted")
    firefox.wait_for(ALL_SET)
    assert told(firefox)[3:] == ["subscribed"]


@pytest.mark.parametrize("at_once", [True, False])
def test_firefox_takes_the_escape_key_for_always_block(
    firefox: Firefox, site: Site, at_once: bool
) -> None:
    """The page hears the key too; the reader still learns what it has done."""
    page = site.put_page()
    open_prompt(firefox, page)
    if at_once:
        firefox.press_escape_at_permission()
    firefox.click(YES)
    if not at_once:
        firefox.wait_for(POINTED_TO)
        firefox.press_escape_at_permission()
    firefox.wait_for(BLOCKED)
    assert "crossed-out icon" in firefox.text()
    assert firefox.evaluate("Notification.permission") == "denied"
    open_without_prompt(firefox, page)


def test_the_prompt_is_heard_and_answered_by_keyboard_alone(
    chromium: Chromium, monitor: VirtualScreen, site: Site
) -> None:
    open_prompt(chromium, site.put_page())
    title = "Get Notifications from The Hill Valley Telegraph"
    heard = "document.querySelector('notifier-prompt').shadowRoot.querySelector('[aria-live]')"
    chromium.wait_for(f"{heard}.textContent.startsWith({title!r})")
    chromium.wait_for(f"{CARD}.role === 'dialog'")
    label = f"{CARD}.querySelector('#' + {CARD}.getAttribute('aria-labelledby'))"
    assert chromium.evaluate(f"{label}.textContent") == title

    before = monitor.wait_until_still(*QUESTION)
    chromium.click("h1")  # as a reader who has read on the page
    monitor.press("Tab", "Tab")
    chromium.wait_for(
        "document.activeElement?.shadowRoot?.activeElement?.dataset.action === 'accept'"
    )
    monitor.press("Return")
    monitor.wait_until_still(*QUESTION, unlike=before)
    monitor.press("Escape")
    chromium.wait_for(ANOTHER_TIME)
    # What had the keyboard is gone: it stays with the answer.
    assert chromium.evaluate(f"document.activeElement.shadowRoot.activeElement === {CARD}")

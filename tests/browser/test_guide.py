"""The guide for iPhones and iPads, in stock browsers that pretend to be one: no such device is
at hand, so what Apple's own software does is not tried here."""

import json
from datetime import timedelta

import pytest
from axe import serious_problems
from browser import Browser
from chromium import Chromium
from panel_page import OPENER, PANEL, ROOT
from publisher import NONCE, Site
from stored import age, recall

pytestmark = [pytest.mark.browser, pytest.mark.service]

SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
GUIDE = "document.querySelector('notifier-guide')"
CARD = f"{GUIDE}.shadowRoot.querySelector('.card')"


def pretend(*, standalone: bool) -> str:
    """Makes a page look as Safari on an iPhone does, in its tab or opened from the home screen."""
    values = json.dumps({"standalone": standalone, "userAgent": SAFARI})
    without_push = "" if standalone else "delete window.PushManager;"
    return (
        f"<script nonce={NONCE}>for (const [name, value] of Object.entries({values}))"
        f" Object.defineProperty(navigator, name, {{ value }}); {without_push}</script>"
    )


def open_guide(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait_for(f"{GUIDE} !== null")


def open_without_guide(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait_for("told.includes('ready')")
    recall(browser, "declined")
    assert browser.evaluate(f"{GUIDE} === null")


def test_a_page_in_safaris_tab_explains_the_way_to_the_home_screen(
    reader: Browser, site: Site
) -> None:
    open_guide(reader, site.put_page(head=pretend(standalone=False)))
    steps = reader.evaluate(f"[...{CARD}.querySelectorAll('li')].map((li) => li.textContent)")
    assert [step.split(".")[0] for step in steps] == [
        "Tap Share",
        "Choose “Add to Home Screen”, then “Add”",
        "Open The Hill Valley Telegraph from your home screen",
        "Tap “Yes please” there, and allow notifications",
    ]
    drawn = f"[...{CARD}.querySelectorAll('li svg')].map((svg) => svg.getBBox().width)"
    assert all(width > 10 for width in reader.evaluate(drawn))
    assert reader.evaluate("document.querySelector('notifier-prompt') === null")


def test_no_thanks_keeps_it_away_as_long_as_the_prompt(reader: Browser, site: Site) -> None:
    page = site.put_page(head=pretend(standalone=False))
    for pause in (timedelta(days=7), timedelta(days=30)):
        open_guide(reader, page)
        reader.click("notifier-guide >>> [data-action=close]")
        reader.wait_for("told.includes('declined')")
        age(reader, "declined", "at", pause - timedelta(hours=1))
        open_without_guide(reader, page)
        age(reader, "declined", "at", timedelta(hours=2))
    open_guide(reader, page)
    reader.click("notifier-guide >>> [data-action=close]")
    reader.wait_for("told.includes('declined')")
    age(reader, "declined", "at", timedelta(days=4000))
    open_without_guide(reader, page)


def test_who_asks_for_it_gets_it_and_closing_it_is_no_answer(reader: Browser, site: Site) -> None:
    page = site.put_page(
        head=pretend(standalone=False), attributes='data-prompt="button"', body=OPENER
    )
    open_without_guide(reader, page)
    reader.click("[data-notifier=preferences]")
    reader.wait_for(f"{ROOT}.querySelector('#offer') !== null")
    assert "once this site is on your home screen" in reader.text()
    reader.click(PANEL + "#offer")
    reader.wait_for(f"{GUIDE} !== null")
    reader.click("notifier-guide >>> [data-action=close]")
    reader.wait_for(f"{GUIDE} === null")
    assert recall(reader, "declined") is None


def test_a_button_that_asks_at_once_brings_it_too(reader: Browser, site: Site) -> None:
    button = "<button data-notifier=subscribe>Get alerts</button>"
    open_guide(reader, site.put_page(head=pretend(standalone=False), body=button))
    reader.click("[data-notifier=subscribe]")
    reader.wait_for(f"{GUIDE}.shadowRoot.activeElement !== null")
    reader.click("notifier-guide >>> [data-action=close]")
    reader.wait_for(f"{GUIDE} === null")
    assert recall(reader, "declined") is None


def test_the_app_on_the_home_screen_asks_by_itself(reader: Browser, site: Site) -> None:
    reader.open(site.put_page(head=pretend(standalone=True)))
    reader.wait_for("document.querySelector('notifier-prompt') !== null")
    assert reader.evaluate(f"{GUIDE} === null")


def test_apples_devices_are_pointed_to_focus_instead_of_quiet_hours(
    reader: Browser, site: Site
) -> None:
    page = site.put_page(
        head=pretend(standalone=True), attributes='data-prompt="button"', body=OPENER
    )
    open_without_guide(reader, page)
    reader.answer_permission("granted")
    reader.click("[data-notifier=preferences]")
    reader.click(PANEL + "#offer")
    reader.wait_for(f"{ROOT}.querySelector('[data-part=quiet]') !== null")
    assert "Set up a Focus instead" in reader.text()
    assert reader.evaluate(f"{ROOT}.querySelector('#quiet') === null")


def test_it_reads_from_right_to_left(reader: Browser, site: Site) -> None:
    open_guide(reader, site.put_page(head=pretend(standalone=False), language="ar"))
    assert "إضافة إلى الشاشة الرئيسية" in reader.text()
    assert reader.evaluate(f"getComputedStyle({CARD}).direction") == "rtl"


@pytest.mark.parametrize("reader", ["chromium"], indirect=True)  # which can be told the scheme
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(reader: Chromium, site: Site, scheme: str) -> None:
    reader.prefer(scheme)
    open_guide(reader, site.put_page(head=pretend(standalone=False)))
    reader.wait_for(f"{CARD}.getAnimations().every((one) => one.playState === 'finished')")
    assert serious_problems(reader) == []

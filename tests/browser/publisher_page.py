"""A publisher's page in a browser: where the prompt is, and what its script has done."""

from browser import Browser
from stored import recall

PROMPT = "notifier-prompt >>> "
YES = PROMPT + "[data-action=accept]"
NO = PROMPT + "[data-action=decline]"
CLOSE = PROMPT + "[data-action=close]"

IS_SHOWN = "document.querySelector('notifier-prompt') !== null"
IS_GONE = "document.querySelector('notifier-prompt') === null"
CARD = "document.querySelector('notifier-prompt').shadowRoot.querySelector('.card')"
IS_STILL = f"{CARD}.getAnimations().every((one) => one.playState === 'finished')"


def open_prompt(browser: Browser, url: str) -> None:
    browser.open(url)
    browser.wait_for(IS_SHOWN)


def open_without_prompt(browser: Browser, url: str) -> None:
    """Opens a page, and finds that the script has looked about and does not ask."""
    browser.open(url)
    browser.wait_for("told.includes('ready')")
    settle(browser)
    assert browser.evaluate(IS_GONE)
    assert loaded(browser) == ["/reader.js"]


def settle(browser: Browser) -> None:
    """Waits until the script has read all that it reads before it asks."""
    for name in ("optedOut", "declined", "views"):
        recall(browser, name)


def loaded(browser: Browser) -> list[str]:
    """The paths of the scripts that the page has loaded, in this order."""
    return list(
        browser.evaluate(
            "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname)"
            ".filter((path) => path.endsWith('.js'))"
        )
    )


def say_yes(browser: Browser, url: str) -> None:
    """Opens the page and opts in there, to the end."""
    open_prompt(browser, url)
    browser.answer_permission("granted")
    browser.click(YES)
    browser.wait_for("told.includes('subscribed')")

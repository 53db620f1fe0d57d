"""The reader's panel on a publisher's page, and what is sent to readers meanwhile."""

import secrets
from datetime import timedelta

import requests
from browser import Browser
from publisher import Site
from sqlalchemy import select
from stored import rows

from notifier import alerts
from notifier.alerts import Draft
from notifier.db import Database
from notifier.models import Alert, AlertState, Subscription
from notifier.rehearsal.deployment import Deployment, wait_until
from notifier.tokens import Scope, create

PANEL = "notifier-panel >>> "
ROOT = "document.querySelector('notifier-panel').shadowRoot"
OPENER = "<button data-notifier=preferences>Preferences</button>"
LONG = timedelta(seconds=20)


def open_panel(browser: Browser, site: Site, *, head: str = "", language: str = "en") -> None:
    """Opens a page of the site, and the panel on it; the panel has been filled."""
    page = site.put_page(
        attributes='data-prompt="button"', body=OPENER, head=head, language=language
    )
    browser.open(page)
    browser.wait_for("told.includes('ready')")
    reopen_panel(browser)


def reopen_panel(browser: Browser) -> None:
    browser.click("[data-notifier=preferences]")
    browser.wait_for(f"{ROOT}.querySelector('#language') !== null")


def close_panel(browser: Browser) -> None:
    browser.click(PANEL + ".close")
    browser.wait_for("document.querySelector('notifier-panel') === null")


def subscribe(browser: Browser, site: Site, service: Deployment) -> int:
    """Opts in by the panel, which stays open; gives the id that the service knows it by."""
    before = rows(service).keys()
    open_panel(browser, site)
    browser.answer_permission("granted")
    browser.click(PANEL + "#offer")
    browser.wait_for(f"{ROOT}.querySelector('#stop') !== null")
    browser.wait_for("told.includes('subscribed')")
    [row_id] = rows(service).keys() - before
    return row_id


def choose(browser: Browser, control: str, said: str = "Saved") -> None:
    """Clicks a control of the panel and waits until it says how that went."""
    browser.evaluate(f"void {ROOT}.querySelector('.said').replaceChildren()")
    browser.click(PANEL + control)
    wait_until_said(browser, said)


def wait_until_said(browser: Browser, words: str) -> None:
    browser.wait_for(f"{ROOT}.querySelector('.said').textContent.includes({words!r})")


def set_value(browser: Browser, control: str, value: str) -> None:
    """As a reader who picks a time or an option."""
    browser.evaluate(
        f"void ((control) => {{ control.value = {value!r};"
        f" control.dispatchEvent(new Event('change')); }})({ROOT}.getElementById({control!r}))"
    )


def row_of(service: Deployment, row_id: int) -> Subscription:
    return rows(service)[row_id]


def publish(
    service: Deployment, title: str, *, sections: tuple[str, ...] = (), major: bool = False
) -> str:
    """Publishes a breaking article as a CMS does; gives the article's id."""
    db = Database(service.settings.database)
    with db.write() as session:
        token = create(session, Scope.ARTICLES_WRITE, secrets.token_hex(4))
    db.close()
    article = secrets.token_hex(8)
    answer = requests.put(
        f"{service.settings.base_url}/api/v1/articles/{article}",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "url": f"https://news.example.com/{article}",
            "title": title,
            "summary": "More follows.",
            "sections": sections,
            "major": major,
            "status": "published",
            "breaking": True,
        },
        timeout=10,
    )
    assert answer.status_code == 201, answer.text
    return article


def publish_and_finish(service: Deployment, title: str, **others: object) -> None:
    """Publishes, and waits until everybody has been sent it who is to get it."""
    publish(service, title, **others)  # type: ignore[arg-type]
    wait_until(lambda: _has_ended(service, title), LONG, f"the end of {title}")


def release(service: Deployment, draft: Draft, story_id: int | None = None) -> None:
    """As an editor does; the clock sees to it within a second."""
    db = Database(service.settings.database)
    with db.write() as session:
        alerts.release(
            session, draft, validity=timedelta(hours=1), released_by="an editor", story_id=story_id
        )
    db.close()
    wait_until(lambda: _has_ended(service, draft.title), LONG, f"the end of {draft.title}")


def _has_ended(service: Deployment, title: str) -> bool:
    db = Database(service.settings.database)
    with db.read() as session:
        state = session.scalar(select(Alert.state).where(Alert.title == title))
    db.close()
    return state is AlertState.FINISHED

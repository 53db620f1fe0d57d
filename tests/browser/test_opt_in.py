"""The main job, in stock browsers: opt in, a breaking article, the notification, the click."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from browser import Browser
from desktop import Desktop
from google_push import GooglePush

from notifier import audience
from notifier.audience import Audience
from notifier.db import Database
from notifier.rehearsal.deployment import Deployment, rehearsal_settings
from notifier.rehearsal.push_service import PushService
from notifier.tokens import Scope, create

pytestmark = [
    pytest.mark.browser,
    pytest.mark.service,
]

PROJECT = Path(__file__).parents[2]
PROMPT = "notifier-prompt >>> "
YES = PROMPT + "[data-action=accept]"
NO = PROMPT + "[data-action=decline]"


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, mozilla_push: PushService, google_push: GooglePush
) -> Iterator[Deployment]:
    """The whole service, which takes the push services of both browsers for real ones."""
    settings = rehearsal_settings(
        tmp_path_factory.mktemp("home"),
        (f"http://localhost:{mozilla_push.port}", mozilla_push.origin),
        push_connect_to=(google_push.connect_to,),
        push_ca_file=google_push.ca_file,
        publication_name="The Hill Valley Telegraph",
    )
    with Deployment(settings, PROJECT / "Procfile") as deployment:
        yield deployment


@pytest.fixture
def known_before(deployment: Deployment) -> int:
    """How many readers have opted in in earlier tests."""
    return readers(deployment)


def publish(deployment: Deployment, title: str, url: str) -> str:
    """Publish a breaking article as a CMS does; gives the id of its alert."""
    settings = deployment.settings
    db = Database(settings.database)
    with db.write() as session:
        token = create(session, Scope.ARTICLES_WRITE, secrets.token_hex(4))
    db.close()
    answer = requests.put(
        f"{settings.base_url}/api/v1/articles/{token[-8:]}",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "url": url,
            "title": title,
            "summary": "The clock was struck at 10.04 p.m.",
            "status": "published",
            "breaking": True,
        },
        timeout=10,
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["alert"]["id"])


def readers(deployment: Deployment) -> int:
    """How many readers the service knows."""
    db = Database(deployment.settings.database)
    with db.read() as session:
        size = audience.size(session, Audience())
    db.close()
    return size


def test_a_reader_says_yes_gets_the_alert_and_opens_the_article(
    browser: Browser, desktop: Desktop, deployment: Deployment, known_before: int
) -> None:
    site = deployment.settings.base_url
    browser.open(site)
    browser.wait_for("document.querySelector('notifier-prompt') !== null")
    assert "Get Notifications from The Hill Valley Telegraph" in browser.text()
    browser.answer_permission("granted")
    browser.click(YES)
    browser.wait_for(
        "document.querySelector('notifier-prompt').shadowRoot.textContent"
        ".includes('You will get breaking news')"
    )
    assert readers(deployment) == known_before + 1
    desktop.wait_for(lambda shown: shown.title.startswith("Welcome to the alerts of The Hill"))

    article = f"{site}/?story=clock-tower"
    alert = publish(deployment, "JUST IN: Lightning strikes the clock tower", article)
    notification = desktop.wait_for(lambda shown: shown.title.startswith("JUST IN"))
    assert notification.title == "JUST IN: Lightning strikes the clock tower"
    assert "The clock was struck at 10.04 p.m." in notification.body

    desktop.click(notification)
    source = f"utm_source=notifier&utm_medium=push&utm_campaign=alert-{alert}"
    browser.wait_for_tab(f"{article}&{source}")


def test_no_thanks_is_remembered_and_nothing_is_recorded(
    browser: Browser, deployment: Deployment, known_before: int
) -> None:
    site = deployment.settings.base_url
    browser.open(site)
    browser.click(NO)
    browser.wait_for("document.querySelector('notifier-prompt') === null")
    assert browser.evaluate("Notification.permission") == "default"

    browser.open(f"{site}/?again")
    # The script has run when it has looked for what was answered, and then asks no more.
    browser.wait_for("document.readyState === 'complete'")
    assert "Get Notifications" not in browser.text()
    assert readers(deployment) == known_before


def test_a_reader_who_blocks_is_told_so_and_not_recorded(
    browser: Browser, deployment: Deployment, known_before: int
) -> None:
    browser.open(deployment.settings.base_url)
    browser.wait_for("document.querySelector('notifier-prompt') !== null")
    browser.answer_permission("denied")
    browser.click(YES)
    browser.wait_for(
        "document.querySelector('notifier-prompt').shadowRoot.textContent.includes('blocked')"
    )
    assert readers(deployment) == known_before

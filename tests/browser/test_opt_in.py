"""The main job, in stock browsers: opt in, a breaking article, the notification, the click."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from browser import Browser
from desktop import Desktop
from google_push import GooglePush
from publisher_page import CARD, IS_SHOWN, YES

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


@pytest.fixture
def deployment(
    tmp_path: Path, mozilla_push: PushService, google_push: GooglePush
) -> Iterator[Deployment]:
    """The whole service, which takes the push services of both browsers for real ones."""
    settings = rehearsal_settings(
        tmp_path,
        (f"http://localhost:{mozilla_push.port}", mozilla_push.origin),
        push_connect_to=(google_push.connect_to,),
        push_ca_file=google_push.ca_file,
        publication_name="The Hill Valley Telegraph",
    )
    with Deployment(settings, PROJECT / "Procfile") as deployment:
        yield deployment


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
    browser: Browser, desktop: Desktop, deployment: Deployment
) -> None:
    site = deployment.settings.base_url
    browser.open(site)
    browser.wait_for(IS_SHOWN)
    assert "Get Notifications from The Hill Valley Telegraph" in browser.text()
    browser.answer_permission("granted")
    browser.click(YES)
    browser.wait_for(f"{CARD}.textContent.includes('You will get breaking news')")
    assert readers(deployment) == 1
    desktop.wait_for(lambda shown: shown.title.startswith("Welcome to the alerts of The Hill"))

    article = f"{site}/?story=clock-tower"
    alert = publish(deployment, "JUST IN: Lightning strikes the clock tower", article)
    notification = desktop.wait_for(lambda shown: shown.title.startswith("JUST IN"))
    assert notification.title == "JUST IN: Lightning strikes the clock tower"
    assert "The clock was struck at 10.04 p.m." in notification.body

    desktop.click(notification)
    source = f"utm_source=notifier&utm_medium=push&utm_campaign=alert-{alert}"
    browser.wait_for_tab(f"{article}&{source}")

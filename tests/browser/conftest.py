"""Real browsers, the push services they talk to and the desktop that shows their notifications."""

from collections.abc import Iterator

import pytest
from browser import Browser
from chromium import Chromium
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush

from notifier.rehearsal.push_service import PushService


@pytest.fixture
def desktop() -> Iterator[Desktop]:
    with Desktop() as desktop:
        yield desktop


@pytest.fixture(scope="session")
def mozilla_push() -> Iterator[PushService]:
    """The push service of every Firefox of the session."""
    with PushService.in_thread() as service:
        yield service


@pytest.fixture(scope="session")
def google_push() -> Iterator[GooglePush]:
    """The push service of every Chromium of the session."""
    with GooglePush() as service:
        yield service


@pytest.fixture
def firefox(mozilla_push: PushService, desktop: Desktop) -> Iterator[Firefox]:
    with Firefox(mozilla_push.origin, desktop.environment()) as firefox:
        yield firefox


@pytest.fixture
def chromium(google_push: GooglePush, desktop: Desktop) -> Iterator[Chromium]:
    with Chromium(google_push, desktop.environment()) as chromium:
        yield chromium


@pytest.fixture(params=["firefox", "chromium"])
def browser(request: pytest.FixtureRequest) -> Browser:
    """Runs the test once with each browser."""
    browser: Browser = request.getfixturevalue(request.param)
    return browser

"""Real browsers, the push services they talk to and the desktop that shows their notifications."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from chromium import Chromium
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush
from notified import Outbox, opt_in
from publisher import Publishers, Site

from notifier.rehearsal.deployment import Deployment, rehearsal_settings
from notifier.rehearsal.push_service import PushService

PROJECT = Path(__file__).parents[2]


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
    with Firefox(mozilla_push.origin, desktop) as firefox:
        yield firefox


@pytest.fixture
def chromium(google_push: GooglePush, desktop: Desktop) -> Iterator[Chromium]:
    with Chromium(google_push, desktop) as chromium:
        yield chromium


@pytest.fixture(params=["firefox", "chromium"])
def browser(request: pytest.FixtureRequest) -> Browser:
    """Runs the test once with each browser."""
    browser: Browser = request.getfixturevalue(request.param)
    return browser


# For the many tests of what readers see on publishers' pages: a new site each, on which nothing
# is stored or permitted yet, instead of a new browser and a new service each.


@pytest.fixture(scope="session")
def publishers() -> Iterator[Publishers]:
    with Publishers.serving() as publishers:
        yield publishers


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    mozilla_push: PushService,
    google_push: GooglePush,
    publishers: Publishers,
) -> Iterator[Deployment]:
    """The whole service, which allows the sites and takes both push services for real ones."""
    settings = rehearsal_settings(
        tmp_path_factory.mktemp("service"),
        (f"http://localhost:{mozilla_push.port}", mozilla_push.origin),
        push_connect_to=(google_push.connect_to,),
        push_ca_file=google_push.ca_file,
        publication_name="The Hill Valley Telegraph",
        allowed_origins=publishers.origins,
        opt_in_rate="10000 per minute",
    )
    with Deployment(settings, PROJECT / "Procfile") as deployment:
        yield deployment


@pytest.fixture
def site(publishers: Publishers, service: Deployment) -> Site:
    """A site of a publisher's own."""
    return publishers.new_site(service.settings.base_url)


@pytest.fixture(scope="session")
def shared_firefox(mozilla_push: PushService) -> Iterator[Firefox]:
    with Desktop() as desktop, Firefox(mozilla_push.origin, desktop) as firefox:
        yield firefox


@pytest.fixture(scope="session")
def shared_chromium(google_push: GooglePush) -> Iterator[Chromium]:
    with Desktop() as desktop, Chromium(google_push, desktop) as chromium:
        yield chromium


@pytest.fixture(params=["firefox", "chromium"])
def reader(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Runs the test once with each browser, which all tests share."""
    reader: Browser = request.getfixturevalue(f"shared_{request.param}")
    yield reader
    reader.tidy_up()


@pytest.fixture
def screen(reader: Browser) -> Desktop:
    """Where the reader's notifications appear, with those of earlier tests."""
    return reader.desktop


@pytest.fixture(scope="module")
def outbox(service: Deployment) -> Iterator[Outbox]:
    """Sends to one reader alone, as the service's worker does."""
    outbox = Outbox(service)
    yield outbox
    outbox.close()


@pytest.fixture
def page(reader: Browser, site: Site) -> str:
    """A page of the site on which the reader has opted in; it is open."""
    return opt_in(reader, site)

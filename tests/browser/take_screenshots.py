"""Takes the pictures of prompt, panel and guide in docs/screenshots, from the running service.

PYTHONPATH=tests/browser .venv/bin/python tests/browser/take_screenshots.py [FOLDER]
pngquant --force --ext .png --quality 80-95 docs/screenshots/*.png   # of Debian
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from chromium import Chromium, Scheme
from desktop import Desktop
from google_push import GooglePush
from panel_page import publish
from publisher import Publishers, Site
from test_guide import pretend

from notifier.embed import embed
from notifier.rehearsal.deployment import Deployment, rehearsal_settings

PROJECT = Path(__file__).parents[2]


class Screen(NamedTuple):
    name: str
    width: int
    height: int


DESKTOP = Screen("desktop", 1100, 780)
TABLET = Screen("tablet", 1080, 780)
PHONE = Screen("phone", 390, 780)

HEADLINES = (
    "Harbour bridge closed after barge strikes pier",
    "Council votes to build the new tram line by one voice",
    "Quay Rovers win the cup in extra time",
)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
BUTTON_ONLY = 'data-prompt="button"'


@contextmanager
def stage() -> Iterator[tuple[Chromium, Site]]:
    """A browser, a site of a publisher's own, and the service with some alerts behind it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="screenshots-")))
        google_push = stack.enter_context(GooglePush())
        publishers = stack.enter_context(Publishers.serving())
        settings = rehearsal_settings(
            folder / "home",
            (),
            push_connect_to=(google_push.connect_to,),
            push_ca_file=google_push.ca_file,
            allowed_origins=publishers.origins,
            extra_push_origins=(google_push.route.origin,),
        )
        service = stack.enter_context(Deployment(settings, PROJECT / "Procfile"))
        for headline in HEADLINES:
            publish(service, headline)
        desktop = stack.enter_context(Desktop())
        browser = stack.enter_context(Chromium(google_push, desktop))
        site = publishers.new_site(settings.base_url)
        site_folder = folder / "site"
        site_folder.mkdir()
        embed(site_folder, settings.base_url, settings.publication_name)
        site.put("/notifications.html", (site_folder / "notifications.html").read_text())
        yield browser, site


def article(site: Site, *, attributes: str = "", head: str = "", language: str = "en") -> str:
    """The sample article as a page of the site, with the script's element as given."""
    html = requests.get(site.service, timeout=10).text
    html = html.replace('href="/static/', f'href="{site.service}/static/')
    html = html.replace('<html lang="en">', f'<html lang="{language}">')
    script = f'<script src="{site.service}/reader.js" {attributes} defer></script>'
    return html.replace('<script src="/reader.js" defer></script>', head + script)


def take_all(browser: Chromium, site: Site, folder: Path) -> None:
    def take(name: str, tag: str, screen: Screen, scheme: Scheme, *, ready: str = ".card") -> None:
        root = f"document.querySelector('{tag}').shadowRoot"
        browser.wait_for(f"{root}.querySelector('{ready}') !== null")
        browser.prefer(scheme)
        path = folder / f"{name}-{screen.name}-{scheme}.png"
        browser.screenshot(path, screen.width, screen.height)  # sets the window's size first
        still = (
            f"{root}.querySelector('.card').getAnimations().every((a) => a.playState !== 'running')"
        )
        browser.wait_for(still)
        browser.screenshot(path, screen.width, screen.height)

    def take_each(name: str, tag: str, *screens: Screen, ready: str = ".card") -> None:
        for screen in screens:
            for scheme in SCHEMES:
                take(name, tag, screen, scheme, ready=ready)

    browser.open(site.put("/", article(site)))
    take_each("prompt", "notifier-prompt", DESKTOP, PHONE)

    browser.open(site.put("/guide", article(site, head=pretend(standalone=False))))
    take_each("guide", "notifier-guide", TABLET, PHONE)

    browser.open(site.put("/panel", article(site, attributes=BUTTON_ONLY)))
    browser.answer_permission("granted")
    browser.evaluate("void notifier.preferences()")
    browser.click("notifier-panel >>> #offer")
    take_each("panel", "notifier-panel", DESKTOP, PHONE, ready="#stop")

    browser.open(f"{site.origin}/notifications.html")
    take("page", "notifier-preferences", DESKTOP, "dark", ready="#stop")
    take("page", "notifier-preferences", PHONE, "light", ready="#stop")

    browser.open(site.put("/arabic", article(site, attributes=BUTTON_ONLY, language="ar")))
    browser.evaluate("void notifier.preferences()")
    take("panel-arabic", "notifier-panel", PHONE, "light", ready="#stop")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "docs" / "screenshots"
    with stage() as (browser, site):
        take_all(browser, site, folder)


if __name__ == "__main__":
    main()

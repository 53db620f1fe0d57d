"""A reader who has opted in: what is sent to this one browser, and what it shows of it."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from browser import Browser
from desktop import Desktop, Notification
from publisher import Site
from publisher_page import say_yes
from stored import subscription

from notifier.db import Database
from notifier.endpoints import EndpointPolicy, decode_key
from notifier.keys import load_vapid_keys
from notifier.models import Alert, AlertKind
from notifier.notification import Appearance, render
from notifier.push import Accepted, Message, Sender, Target, Transport, VapidSigner, pad
from notifier.rehearsal.deployment import Deployment

SHOWN = """navigator.serviceWorker.getRegistration("/notifier/")
  .then((found) => found.getNotifications())
  .then((all) => all.map(({ title, body, tag, lang, dir, silent, data }) =>
    ({ title, body, tag, lang, dir, silent, data })))"""

CLOSE_ALL = """navigator.serviceWorker.getRegistration("/notifier/")
  .then((found) => found.getNotifications())
  .then((all) => all.forEach((one) => one.close()))"""

EVERYBODY = "self.Math.random = () => 0;"
"""In front of a worker: it takes part in everything that only some do, and at once."""

_numbers = itertools.count(10**9)


def opt_in(
    browser: Browser, site: Site, *, worker: str = "", headers: dict[str, str] | None = None
) -> str:
    """A new reader on the site, on a page that stays open, alone; gives its URL.

    `worker` stands in front of the site's service worker, which is served with `headers`.
    """
    browser.close_others()
    site.put("/notifier/sw.js", worker + site.worker, "text/javascript", headers)
    page = site.put_page()
    say_yes(browser, page)
    return page


def replace_worker(browser: Browser, site: Site, text: str) -> None:
    """Has the site serve another worker, and waits until the browser has put it in place."""
    site.put("/notifier/sw.js", text, "text/javascript")
    found = "navigator.serviceWorker.getRegistration('/notifier/').then((found) => "
    browser.evaluate(f"{found} (window.replaced = found.active, found.update())).then(() => true)")
    browser.wait_for(
        f"{found} ![null, replaced].includes(found.active) && found.active.state === 'activated')"
    )


def make_alert(site: Site, **changes: Any) -> Alert:
    """An alert of a story of its own, that leads to the site's page."""
    number = next(_numbers)
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "id": number,
        "story_id": number,
        "revision": 1,
        "kind": AlertKind.BREAKING,
        "title": f"Bridge {number} closed",
        "body": "Until further notice.",
        "url": f"{site.origin}/bridge",
        "released_at": now,
        "expires_at": now + timedelta(hours=4),
    }
    return Alert(**(values | changes))


def follow(alert: Alert, **changes: Any) -> Alert:
    """What comes after an alert of the same story."""
    kept = ("story_id", "body", "url", "released_at", "expires_at")
    values = {name: getattr(alert, name) for name in kept}
    values |= {"id": next(_numbers), "revision": alert.revision + 1}
    return Alert(**(values | changes))


class Outbox:
    """Sends to a browser with the service's own sender and key, as its worker does."""

    def __init__(self, service: Deployment) -> None:
        settings = service.settings
        self._db = Database(settings.database)
        self._keys = load_vapid_keys(self._db, settings.home)
        self._sender: Sender[None] = Sender(
            Transport(
                connect_to=settings.push_connect_to, ca_file=Path(str(settings.push_ca_file))
            ),
            VapidSigner(self._keys, settings.vapid_subject),
            EndpointPolicy(settings.extra_push_origins),
        )
        self._appearance = Appearance(
            icon=f"{settings.base_url}/static/icon-192.png", service=settings.base_url
        )

    def send(self, browser: Browser, alert: Alert, *, declarative: bool = False) -> None:
        self.send_plaintext(browser, render(alert, self._appearance, declarative=declarative))

    def send_changed(self, browser: Browser, alert: Alert, **changes: Any) -> None:
        """Sends a message whose data says otherwise than any of ours."""
        message = json.loads(render(alert, self._appearance))
        message["notification"]["data"] |= changes
        self.send_plaintext(browser, json.dumps(message).encode())

    def send_plaintext(self, browser: Browser, plaintext: bytes) -> None:
        found = subscription(browser)
        target = Target(
            found["endpoint"],
            decode_key(found["keys"]["p256dh"], "p256dh"),
            decode_key(found["keys"]["auth"], "auth"),
            max(self._keys),
        )
        message = Message(padded=pad(plaintext), ttl=timedelta(minutes=1))
        self._sender.submit(None, target, message)
        [(_, outcome)] = self._sender.poll(timedelta(seconds=20))
        assert isinstance(outcome, Accepted), outcome

    def close(self) -> None:
        self._sender.close()
        self._db.close()


def shown(browser: Browser) -> list[dict[str, Any]]:
    """The notifications of the open page's site that are on the screen now, but for the welcome."""
    return [one for one in browser.evaluate(SHOWN) if one["tag"] != "welcome"]


def seen(screen: Desktop, title: str) -> list[Notification]:
    """Each time that a notification with this title was put on the screen."""
    return [notification for notification in screen.notifications if notification.title == title]


def wait_until_shown(browser: Browser, title: str, **attributes: object) -> dict[str, Any]:
    """The notification with this title, once it is there and has these attributes.

    The browser is not asked before the desktop shows it, see `Desktop`.
    """
    browser.desktop.wait_for(lambda shown: shown.title == title)
    wanted = json.dumps({"title": title, **attributes})
    found = browser.wait_for(
        f"{SHOWN}.then((all) => all.find((one) => Object.entries({wanted})"
        ".every(([name, value]) => one[name] === value)))"
    )
    return dict(found)

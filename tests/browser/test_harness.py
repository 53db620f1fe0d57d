"""The browsers, desktop and push services of the tests do what real ones do."""

import contextlib
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import Browser, PageError
from chromium import Chromium
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush
from programs import find_program
from push_sender import new_vapid, public_key, push_to
from py_vapid import Vapid02
from vapid_check import vapid_problem

from notifier.rehearsal.push_service import PushService

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><title>Front page</title>
<div id="prompt"></div>
<p id="state">not asked</p>
<script>
  const state = document.getElementById("state");
  const prompt = document.getElementById("prompt").attachShadow({ mode: "open" });
  prompt.innerHTML = "<p>Get Notifications?</p><button>Yes please</button>";
  navigator.serviceWorker.onmessage = (event) => { state.append(" ", event.data); };
  prompt.querySelector("button").onclick = async (event) => {
    window.trusted = event.isTrusted;
    state.textContent = await Notification.requestPermission();
    if (Notification.permission !== "granted") return;
    await navigator.serviceWorker.register("/worker.js");
    const registration = await navigator.serviceWorker.ready;
    window.subscription = await registration.pushManager.subscribe(
      { userVisibleOnly: true, applicationServerKey: "%(key)s" });
    state.textContent = "subscribed";
  };
  const withdrawAll = async () => {
    const registration = await navigator.serviceWorker.ready;
    // The desktop may show a notification a moment before the browser counts it as shown.
    let shown;
    do shown = await registration.getNotifications(); while (!shown.length);
    for (const notification of shown) notification.close();
  };
</script>"""

WORKER = """
addEventListener("push", (event) => {
  event.waitUntil(registration.showNotification("Breaking", {
    body: event.data.text(), actions: [{ action: "mute", title: "Mute" }] }));
});
const tell = async (message) => {
  for (const client of await clients.matchAll({ includeUncontrolled: true })) {
    client.postMessage(message);
  }
};
addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(event.action ? tell(event.action) : clients.openWindow("/article"));
});
addEventListener("notificationclose", (event) => event.waitUntil(tell("dismissed")));
"""


@dataclass(frozen=True)
class Site:
    url: str
    vapid: Vapid02


@pytest.fixture
def site() -> Iterator[Site]:
    """A page that asks and subscribes, and a service worker that shows what arrives."""
    vapid = new_vapid()
    files = {
        "/": ("text/html", PAGE % {"key": public_key(vapid)}),
        "/worker.js": ("text/javascript", WORKER),
        "/article": ("text/html", "<!doctype html><title>Article</title><p>The whole story"),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content_type, text = files.get(self.path, (None, None))
            self.send_response(200 if text else 404)
            if content_type:
                self.send_header("Content-Type", content_type)
            # A strict policy must not be in the harness's way.
            self.send_header("Content-Security-Policy", "script-src 'self' 'unsafe-inline'")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Site(f"http://localhost:{server.server_port}", vapid)
        server.shutdown()
        thread.join()


def push(browser: Browser, vapid: Vapid02, text: str) -> int:
    """Sends a push message to the subscription of the open page; gives the status."""
    return push_to(browser.evaluate("subscription"), browser.push, vapid, text)


def opt_in(browser: Browser, site: Site) -> None:
    browser.open(site.url)
    browser.answer_permission("granted")
    browser.click("#prompt >>> button")
    browser.wait_for("state.textContent === 'subscribed'")


def test_a_push_message_becomes_a_notification_whose_click_opens_the_article(
    reader: Browser, screen: Desktop, site: Site
) -> None:
    opt_in(reader, site)
    assert reader.evaluate("trusted") is True

    assert push(reader, site.vapid, "Ministers resign: “all of them”") == 201
    notification = screen.wait_for(lambda shown: "Ministers" in shown.body)
    assert notification.title == "Breaking"
    assert notification.body.endswith("Ministers resign: “all of them”")

    screen.click(notification)
    reader.wait_for_tab(f"{site.url}/article")
    assert f"{site.url}/" in reader.urls()


def test_what_becomes_of_a_notification_reaches_the_service_worker_and_back(
    reader: Browser, screen: Desktop, site: Site
) -> None:
    opt_in(reader, site)

    push(reader, site.vapid, "to be dismissed")
    notification = screen.wait_for(lambda shown: shown.body.endswith("dismissed"))
    assert screen.is_open(notification)
    screen.dismiss(notification)
    reader.wait_for("state.textContent.includes('dismissed')")
    assert not screen.is_open(notification)

    push(reader, site.vapid, "to be muted")
    notification = screen.wait_for(lambda shown: shown.body.endswith("muted"))
    [mute] = [key for key, label in notification.actions.items() if label == "Mute"]
    screen.click(notification, mute)
    reader.wait_for("state.textContent.includes('mute')")
    assert not screen.is_open(notification)

    push(reader, site.vapid, "to be withdrawn")
    notification = screen.wait_for(lambda shown: shown.body.endswith("withdrawn"))
    reader.evaluate("withdrawAll()")
    screen.wait_until_closed(notification)


def test_a_push_message_waits_for_a_browser_that_is_not_running(
    browser: Browser, desktop: Desktop, site: Site
) -> None:
    opt_in(browser, site)
    subscription = browser.evaluate("subscription")
    browser.quit()

    assert push_to(subscription, browser.push, site.vapid, "while you were away") == 201
    assert desktop.notifications == []
    browser.start()
    notification = desktop.wait_for()
    assert notification.body.endswith("while you were away")
    desktop.click(notification)
    browser.wait_for_tab(f"{site.url}/article")


def test_the_push_service_refuses_a_foreign_signature_and_forgets_who_unsubscribes(
    reader: Browser, screen: Desktop, site: Site
) -> None:
    opt_in(reader, site)
    assert push(reader, new_vapid(), "not from the newsroom") in (401, 403)

    assert reader.evaluate("subscription.unsubscribe()") is True
    assert push(reader, site.vapid, "too late") in (404, 410)
    texts = ("not from the newsroom", "too late")
    assert not [shown for shown in screen.notifications if shown.body.endswith(texts)]


def test_a_page_can_be_refused_looked_at_and_kept_off_the_internet(
    reader: Browser, site: Site, tmp_path: Path
) -> None:
    reader.open(site.url)
    assert reader.evaluate("Notification.permission") == "default"
    reader.answer_permission("denied")
    reader.click("#prompt >>> button")
    reader.wait_for("state.textContent === 'denied'")

    assert "Get Notifications?" in reader.text()
    assert "Yes please" in reader.text()
    assert "attachShadow" not in reader.text()

    reader.screenshot(tmp_path / "page.png", 390, 844)
    assert png_size(tmp_path / "page.png") == (390, 844)
    assert reader.evaluate("innerWidth") == 390

    outside = "fetch('http://192.0.2.1/', {mode: 'no-cors'}).then(() => 'reached', () => 'closed')"
    assert reader.evaluate(outside) == "closed"
    outside = outside.replace("192.0.2.1", "www.example.com")
    assert reader.evaluate(outside) == "closed"

    with pytest.raises(PageError, match="nobodyKnows"):
        reader.evaluate("nobodyKnows")
    with pytest.raises(TimeoutError, match="Yes please"):
        reader.wait_for("false", timeout=timedelta(0))


def png_size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


def test_a_signature_is_checked_for_whom_and_how_long_it_is_good() -> None:
    vapid = new_vapid()

    def problem(origin: str, validity: timedelta) -> str | None:
        expires_at = datetime.now(UTC) + validity
        claims = {"sub": "mailto:desk@newsroom.example", "aud": origin}
        signed = vapid.sign(claims | {"exp": int(expires_at.timestamp())})
        return vapid_problem(signed["Authorization"], public_key(vapid), GooglePush.origin)

    assert problem(GooglePush.origin, timedelta(hours=12)) is None
    assert "aud" in problem("https://fcm.googleapis.com", timedelta(hours=12))
    assert "exp" in problem(GooglePush.origin, timedelta(hours=-1))
    assert "exp" in problem(GooglePush.origin, timedelta(hours=25))
    assert "form" in vapid_problem("", public_key(vapid), GooglePush.origin)


@pytest.mark.parametrize("name", ["firefox", "chromium"])
def test_nothing_of_a_closed_browser_is_left(
    name: str,
    desktop: Desktop,
    mozilla_push: PushService,
    google_push: GooglePush,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mark = secrets.token_hex()
    environment = {"BROWSER_TEST": mark}
    browser = (
        Firefox(mozilla_push.origin, desktop, environment)
        if name == "firefox"
        else Chromium(google_push, desktop, environment)
    )
    with browser:
        assert processes_with(mark)
        assert list(tmp_path.iterdir())
    deadline = time.monotonic() + 20
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.05)  # the last helper processes end when they notice
    assert processes_with(mark) == []
    assert list(tmp_path.iterdir()) == []


def test_a_missing_program_skips_its_tests_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="apt-get install browser-package"):
        find_program("no-such-browser", package="browser-package")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install browser-package"):
        find_program("no-such-browser", package="browser-package")


def processes_with(mark: str) -> list[str]:
    """The command lines of the running processes that have `mark` in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in process.joinpath("environ").read_bytes():
                found.append(process.joinpath("cmdline").read_text())
    return found

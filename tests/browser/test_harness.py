"""The browsers, desktop and push services of the tests do what real ones do."""

import base64
import contextlib
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pycurl
import pytest
import requests
from browser import Browser, PageError, PushRoute
from chromium import Chromium
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush
from programs import find_program
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush

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
    for (const notification of await registration.getNotifications()) notification.close();
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
    vapid = Vapid02()
    vapid.generate_keys()
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
            # These policies must not be in the harness's way.
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


def public_key(vapid: Vapid02) -> str:
    """The applicationServerKey: an uncompressed point in base64url."""
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


class RoutedSession:
    """The part of a `requests.Session` that pywebpush uses, on libcurl for its CONNECT_TO."""

    def __init__(self, route: PushRoute) -> None:
        self.route = route

    def post(
        self, url: str, *, data: bytes, headers: dict[str, str], timeout: float
    ) -> requests.Response:
        assert url.startswith(f"{self.route.origin}/")
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.POSTFIELDS, data)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        curl.setopt(pycurl.TIMEOUT, int(timeout))
        if self.route.connect_to:
            curl.setopt(pycurl.CONNECT_TO, [self.route.connect_to])
            curl.setopt(pycurl.CAINFO, str(self.route.ca_file))
        response = requests.Response()
        response._content = curl.perform_rb()
        response.status_code = curl.getinfo(pycurl.RESPONSE_CODE)
        curl.close()
        return response


def push(browser: Browser, vapid: Vapid02, text: str) -> int:
    """Sends a push message to the subscription of the open page; gives the status."""
    try:
        response = webpush(
            browser.evaluate("subscription"),
            text,
            vapid_private_key=vapid,
            vapid_claims={"sub": "mailto:desk@newsroom.example"},
            ttl=60,
            timeout=20,
            requests_session=RoutedSession(browser.push),
        )
    except WebPushException as error:
        return error.response.status_code
    return response.status_code


def opt_in(browser: Browser, site: Site) -> None:
    browser.open(site.url)
    browser.answer_permission("granted")
    browser.click("#prompt >>> button")
    browser.wait_for("state.textContent === 'subscribed'")


def test_a_push_message_becomes_a_notification_whose_click_opens_the_article(
    browser: Browser, desktop: Desktop, site: Site
) -> None:
    opt_in(browser, site)
    assert browser.evaluate("trusted") is True

    assert push(browser, site.vapid, "Ministers resign: “all of them”") == 201
    notification = desktop.wait_for()
    assert notification.title == "Breaking"
    assert notification.body.endswith("Ministers resign: “all of them”")

    desktop.click(notification)
    browser.wait_for_tab(f"{site.url}/article")
    assert f"{site.url}/" in browser.urls()


def test_what_becomes_of_a_notification_reaches_the_service_worker_and_back(
    browser: Browser, desktop: Desktop, site: Site
) -> None:
    opt_in(browser, site)

    push(browser, site.vapid, "to be dismissed")
    notification = desktop.wait_for()
    assert desktop.is_open(notification)
    desktop.dismiss(notification)
    browser.wait_for("state.textContent.includes('dismissed')")
    assert not desktop.is_open(notification)

    push(browser, site.vapid, "to be muted")
    notification = desktop.wait_for(lambda shown: shown.body.endswith("muted"))
    [mute] = [key for key, label in notification.actions.items() if label == "Mute"]
    desktop.click(notification, mute)
    browser.wait_for("state.textContent.includes('mute')")
    assert not desktop.is_open(notification)

    push(browser, site.vapid, "to be withdrawn")
    notification = desktop.wait_for(lambda shown: shown.body.endswith("withdrawn"))
    browser.evaluate("withdrawAll()")
    desktop.wait_until_closed(notification)


def test_the_push_service_refuses_a_foreign_signature_and_forgets_who_unsubscribes(
    browser: Browser, desktop: Desktop, site: Site
) -> None:
    opt_in(browser, site)
    stranger = Vapid02()
    stranger.generate_keys()
    assert push(browser, stranger, "not from the newsroom") in (401, 403)

    assert browser.evaluate("subscription.unsubscribe()") is True
    assert push(browser, site.vapid, "too late") in (404, 410)
    assert desktop.notifications == []


def test_a_page_can_be_refused_looked_at_and_kept_off_the_internet(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    browser.open(site.url)
    assert browser.evaluate("Notification.permission") == "default"
    browser.answer_permission("denied")
    browser.click("#prompt >>> button")
    browser.wait_for("state.textContent === 'denied'")

    assert "Get Notifications?" in browser.text()
    assert "Yes please" in browser.text()
    assert "attachShadow" not in browser.text()

    browser.screenshot(tmp_path / "page.png", 390, 844)
    assert png_size(tmp_path / "page.png") == (390, 844)
    assert browser.evaluate("innerWidth") == 390

    outside = "fetch('http://192.0.2.1/', {mode: 'no-cors'}).then(() => 'reached', () => 'closed')"
    assert browser.evaluate(outside) == "closed"
    outside = outside.replace("192.0.2.1", "www.example.com")
    assert browser.evaluate(outside) == "closed"

    with pytest.raises(PageError, match="nobodyKnows"):
        browser.evaluate("nobodyKnows")
    with pytest.raises(TimeoutError, match="Yes please"):
        browser.wait_for("false", timeout=timedelta(0))


def png_size(path: Path) -> tuple[int, int]:
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


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
    environment = desktop.environment() | {"BROWSER_TEST": mark}
    browser = (
        Firefox(mozilla_push.origin, environment)
        if name == "firefox"
        else Chromium(google_push, environment)
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

"""Counts what a browser asks for because it gets push messages.

    python tests/browser/requests_of_pushes.py [firefox] [chromium]

Every request to the service goes through a front that counts it; the publisher's site counts its
own. Each browser gets a number of messages, each of a story of its own, as from a busy newsroom.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests
from browser import Browser
from chromium import Chromium
from desktop import Desktop
from firefox import Firefox
from google_push import GooglePush
from notified import CLOSE_ALL, Outbox, make_alert, opt_in, wait_until_shown
from publisher import Publishers

from notifier.rehearsal.deployment import Deployment, free_port, rehearsal_settings
from notifier.rehearsal.push_service import PushService

PROJECT = Path(__file__).parents[2]
PUSHES = 100
LONG = timedelta(minutes=1)
RATE = 0.1
UPDATE = """navigator.serviceWorker.getRegistration("/notifier/")
  .then((found) => found.update()).then(() => true)"""
KEPT_HEADERS = ("content-type", "cache-control", "etag", "last-modified", "access-", "cross-")


class Front:
    """Passes requests on to the service, and counts them by method and path."""

    def __init__(self, port: int, target: str) -> None:
        self.counts: Counter[str] = Counter()
        front = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                front.counts[f"{self.command} {_kind(self.path)}"] += 1
                length = int(self.headers.get("Content-Length") or 0)
                try:
                    answer = requests.request(
                        self.command,
                        target + self.path,
                        headers={
                            name: self.headers[name] for name in self.headers if name != "Host"
                        },
                        data=self.rfile.read(length),
                        timeout=10,
                    )
                except requests.ConnectionError:  # it is still starting
                    self.send_error(502)
                    return
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() in KEPT_HEADERS or name.lower().startswith(
                        ("access-", "cross-")
                    ):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            do_GET = do_POST = do_PATCH = do_OPTIONS = answer  # noqa: N815

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _kind(path: str) -> str:
    parts = path.partition("?")[0].split("/")
    return "/".join("ID" if part.isdigit() else part for part in parts)


def measure(browser: Browser, publishers: Publishers, service: Deployment, front: Front) -> None:
    site = publishers.new_site(service.settings.base_url)
    with_outbox = Outbox(service)
    opt_in(browser, site)
    front.counts.clear()
    publishers.requests.clear()
    for number in range(PUSHES):
        alert = make_alert(site, count_rate=RATE)
        with_outbox.send(browser, alert)
        wait_until_shown(browser, alert.title)
        if number % 20 == 19:
            browser.evaluate(CLOSE_ALL)
    threading.Event().wait(timedelta(seconds=12).total_seconds())  # what is told late, is told
    click.echo(f"{browser.name}: requests per 1,000 messages, of which {RATE:.0%} are counted")
    for name, count in sorted((front.counts + publishers.requests).items()):
        click.echo(f"  {count * 1000 / PUSHES:8.0f}  {name}")

    front.counts.clear()
    publishers.requests.clear()
    browser.evaluate(UPDATE)
    click.echo("and for a check whether there is a newer worker")
    for name, count in sorted((front.counts + publishers.requests).items()):
        click.echo(f"  {count:8}  {name}")
    with_outbox.close()


def main(names: list[str]) -> None:
    with ExitStack() as stack:
        mozilla = stack.enter_context(PushService.in_thread())
        google = stack.enter_context(GooglePush())
        publishers = stack.enter_context(Publishers.serving())
        port = free_port()
        settings = rehearsal_settings(
            Path(stack.enter_context(TemporaryDirectory())),
            (f"http://localhost:{mozilla.port}", mozilla.origin),
            push_connect_to=(google.connect_to,),
            push_ca_file=google.ca_file,
            allowed_origins=publishers.origins,
            public_url=f"http://localhost:{port}",
        )
        front = Front(port, f"http://127.0.0.1:{settings.port}")
        stack.enter_context(front.serving())
        service = stack.enter_context(Deployment(settings, PROJECT / "Procfile"))
        desktop = stack.enter_context(Desktop())
        if "firefox" in names:
            with Firefox(mozilla.origin, desktop) as firefox:
                measure(firefox, publishers, service, front)
        if "chromium" in names:
            with Chromium(google, desktop) as chromium:
                measure(chromium, publishers, service, front)


if __name__ == "__main__":
    main(sys.argv[1:] or ["firefox", "chromium"])

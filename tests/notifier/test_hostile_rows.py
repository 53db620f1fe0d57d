"""Rows that no check has let in: whatever stands in the database, nothing else is called."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from newsroom import APPEARANCE, Newsroom
from sqlalchemy import select, update

from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.endpoints import endpoint_hash
from notifier.models import OwnMessage, Subscription
from notifier.own_messages import OwnMessages, Publication
from notifier.rehearsal.client import PushServiceControl

PAPER = Publication("The Daily Example", "https://www.example.com")


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A listener on loopback that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def port_of(trap: socket.socket) -> int:
    port: int = trap.getsockname()[1]
    return port


def was_called(trap: socket.socket) -> bool:
    try:
        trap.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def put_rows(newsroom: Newsroom, endpoints: list[str]) -> None:
    """Copies of a good row with other endpoints, owed a test each."""
    newsroom.opt_in(1)
    with newsroom.db.write() as session:
        good = session.scalars(select(Subscription)).one()
        session.add_all(
            Subscription(
                endpoint=endpoint,
                endpoint_hash=endpoint_hash(endpoint + os.urandom(4).hex()),
                push_service="fcm",
                p256dh=good.p256dh,
                auth=good.auth,
                vapid_key_id=good.vapid_key_id,
                created_at=now_of(session),
                last_seen_at=now_of(session),
            )
            for endpoint in endpoints
        )
        session.execute(update(Subscription).values(owed=OwnMessage.TEST))


def test_a_bad_row_is_not_contacted_and_hurts_nobody_else(
    newsroom: Newsroom, trap: socket.socket
) -> None:
    port = port_of(trap)
    bad = [
        f"https://127.0.0.1:{port}/x",
        f"http://127.0.0.1:{port}/x",
        f"http://localhost:{port}/x",
        f"http://127.0.0.1:{port}\\@fcm.googleapis.com/x",
        f"https://127.0.0.1:{port}\\@fcm.googleapis.com/x",
        f"http://fcm.googleapis.com@127.0.0.1:{port}/",
        f"http://2130706433:{port}/x",
        f"http://0177.0.0.1:{port}/x",
        f"http://[::ffff:127.0.0.1]:{port}/x",
        f"http://127.0.0.1:{port}/#@fcm.googleapis.com/",
        f"http://127\u30020.0.1:{port}/x",
        f"gopher://127.0.0.1:{port}/_x",
        f"telnet://127.0.0.1:{port}",
        "file:///etc/passwd",
        "",
    ]
    put_rows(newsroom, bad)
    own = OwnMessages(newsroom.db, newsroom.sender, APPEARANCE, PAPER)
    alert = newsroom.release()

    newsroom.deliver()
    own.send_some()

    assert not was_called(trap)
    assert newsroom.counts(alert.id) == {
        "audience": len(bad) + 1,
        "accepted": 1,
        "rejected": len(bad),
    }
    assert newsroom.control.report()["accepted"] == 2, "the alert and the test of the good row"
    with socket.create_connection(("127.0.0.1", port)):  # so the trap does notice a call
        assert was_called(trap)


class _Redirects(BaseHTTPRequestHandler):
    target = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(307)
        self.send_header("Location", self.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def redirecting(trap: socket.socket) -> Iterator[str]:
    """The origin of a push service that sends every request on to the trap."""
    handler = type("Handler", (_Redirects,), {"target": f"http://127.0.0.1:{port_of(trap)}/"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_push_service_cannot_send_us_elsewhere(
    db: Database,
    settings: Settings,
    control: PushServiceControl,
    trap: socket.socket,
    redirecting: str,
) -> None:
    newsroom = Newsroom(db, settings, control, also=[redirecting])
    try:
        put_rows(newsroom, [f"{redirecting}/x"])
        alert = newsroom.release()
        newsroom.deliver()
        OwnMessages(db, newsroom.sender, APPEARANCE, PAPER).send_some()
    finally:
        newsroom.close()

    assert not was_called(trap)
    assert newsroom.counts(alert.id) == {"audience": 2, "accepted": 1, "rejected": 1}

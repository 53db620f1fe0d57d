"""The verifying sink: everything that our sender sends is read as a browser would read it."""

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from notifier.rehearsal.content_coding import decrypt, split_body
from notifier.rehearsal.validation import VapidChecker, check_ttl

from bench import sink
from bench.readers import PLAINTEXT, from_base64url, make_readers, write_order
from bench.subjects import UnexpectedAnswerError, our_sender


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


def verify(messages: int) -> dict[str, int]:
    """Send to a sink that keeps everything, and hold it against the RFCs; answers what was seen.

    Every message is decrypted with its reader's key, every VAPID token is checked, and no key id
    and no salt may occur twice. Raises UnexpectedAnswerError, or what the checks raise.
    """
    with tempfile.TemporaryDirectory() as name, _recorder() as (port, received):
        folder = Path(name)
        with sink.running(pass_on_to=port) as front:
            readers = make_readers(front.origin, messages)
            order, vapid_key = folder / "order.json", folder / "vapid.pem"
            write_order(order, readers, front, vapid_key)
            with our_sender(messages).running(order, front) as take_turn:
                take_turn()
            origin = front.origin
        vapid_public_key = from_base64url(json.loads(order.read_text())["vapid_public_key"])
    by_path = {reader.endpoint.removeprefix(origin): reader for reader in readers}
    checker = VapidChecker()
    bodies = [split_body(message.body) for message in received]
    for message in received:
        reader = by_path[message.path]
        if decrypt(message.body, reader.private_key, reader.auth) != PLAINTEXT:
            raise UnexpectedAnswerError("a message was decrypted to something else")
        checker.check(
            message.headers.get("authorization"), origin=origin, subscribed_key=vapid_public_key
        )
        check_ttl(message.headers.get("ttl"))
    seen = {
        "messages": len(received),
        "readers": len({message.path for message in received}),
        "key_ids": len({body.sender_key for body in bodies}),
        "salts": len({body.salt for body in bodies}),
    }
    if seen["readers"] != messages or not seen["messages"] == seen["key_ids"] == seen["salts"]:
        raise UnexpectedAnswerError(f"a key id or a salt was used twice: {seen}")
    return seen


@contextmanager
def _recorder() -> Iterator[tuple[int, list[Received]]]:
    """A server on a free port of 127.0.0.1 that says 201 to every POST, and what it was sent."""
    received: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received.append(Received(self.path, headers, body))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Endpoints are no one's business."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1024  # nginx opens one connection for each request

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

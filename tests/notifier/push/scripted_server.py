"""A push service on 127.0.0.1 that answers as a test tells it to."""

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Received:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers a path with what `script` holds for it, else with 201, and notes what it gets."""

    port: int
    script: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = field(
        default_factory=dict
    )
    received: list[Received] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, status: int, **headers: str) -> str:
        """Answer `path` with an empty body; returns the URL."""

        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        return self.run(path, send)

    def answer_raw(self, path: str, data: bytes) -> str:
        """Answer `path` with these very bytes, then close the connection; returns the URL."""

        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.wfile.write(data)
            handler.close_connection = True

        return self.run(path, send)

    def hold(self, path: str) -> str:
        """Answer `path` with 201 when `released` is set, and not before; returns the URL."""

        def send(handler: http.server.BaseHTTPRequestHandler) -> None:
            self.released.wait(60)
            _created(handler)

        return self.run(path, send)

    def run(self, path: str, send: Callable[[http.server.BaseHTTPRequestHandler], None]) -> str:
        self.script[path] = send
        return self.origin + path


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 200

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up in the middle are what several tests are about."""


def serve() -> Iterator[ScriptedServer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            scripted.received.append(Received(self.path, headers, body))
            scripted.script.get(self.path, _created)(self)

        do_GET = do_POST  # noqa: N815
        do_CONNECT = do_POST  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    scripted = ScriptedServer(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    scripted.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _created(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(201)
    handler.send_header("Content-Length", "0")
    handler.end_headers()

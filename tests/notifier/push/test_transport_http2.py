"""The transport against a real HTTP/2 server, nginx with TLS."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from nginx import CERTIFICATE, INSTALL, find, running

from notifier.endpoints import EndpointPolicy
from notifier.push import single
from notifier.push.exchange import PushRequest
from notifier.push.outcome import Answer, Unreachable
from notifier.push.sender import Target
from notifier.push.transport import Transport
from notifier.push.vapid import VapidKey, VapidSigner
from notifier.rehearsal.content_coding import encode_point
from notifier.rehearsal.deployment import free_port

pytestmark = pytest.mark.skipif(find() is None, reason=INSTALL)

HOST = "updates.push.services.mozilla.com"
URL = f"https://{HOST}/wpush/v2/x"
AT_MOST = timedelta(seconds=30)

CONFIG = """
    log_format requests "$server_protocol $connection $status";
    access_log requests.log requests;
    {manner}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        listen 127.0.0.1:{port_without_http2} ssl;
        location / {{ return 201; }}
        location ~ /silent$ {{ proxy_pass http://127.0.0.1:{silent}; }}
        location /gone {{ return 410; }}
        location /busy {{ add_header Retry-After 7 always; return 429; }}
    }}
"""


@dataclass
class Nginx:
    port: int
    port_without_http2: int
    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / CERTIFICATE

    def requests(self) -> list[list[str]]:
        """Protocol, connection and status of every request so far."""
        return [line.split() for line in (self.folder / "requests.log").read_text().splitlines()]


@pytest.fixture
def nginx(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nginx]:
    """A parameter of the fixture is a line of configuration: how this push service behaves."""
    port, port_without_http2 = free_port(), free_port()
    # One that takes connections and never looks at them.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = CONFIG.format(
            port=port,
            port_without_http2=port_without_http2,
            silent=silent.getsockname()[1],
            manner=getattr(request, "param", ""),
        )
        with running(tmp_path, http, port, hosts=(HOST,)):
            yield Nginx(port, port_without_http2, tmp_path)


def make_transport(nginx: Nginx, port: int | None = None, **options: timedelta | int) -> Transport:
    entry = f"{HOST}:443:127.0.0.1:{port or nginx.port}"
    return Transport(connect_to=[entry], ca_file=nginx.certificate, **options)  # type: ignore[arg-type]


def send(transport: Transport, *urls: str) -> list[Answer]:
    for number, url in enumerate(urls):
        transport.submit(number, PushRequest(url, ("TTL: 60",), b"x" * 800))
    answers: dict[object, Answer] = {}
    while transport.in_flight:
        answers.update(transport.poll(AT_MOST))
    return [answers[number] for number in range(len(urls))]


def test_requests_share_a_few_http2_connections(nginx: Nginx) -> None:
    with make_transport(nginx) as transport:
        for _ in range(5):
            assert send(transport, *[URL] * 100) == [Answer(201)] * 100
    requests = nginx.requests()
    assert len(requests) == 500
    assert {protocol for protocol, _, _ in requests} == {"HTTP/2.0"}
    assert len({connection for _, connection, _ in requests}) <= 4


def test_what_was_answered_in_time_counts_when_it_is_read_late(nginx: Nginx) -> None:
    timeout = timedelta(seconds=2)
    with make_transport(nginx, timeout=timeout) as transport:
        assert send(transport, URL) == [Answer(201)]
        for number in range(100):
            transport.submit(number, PushRequest(URL, ("TTL: 60",), b"x" * 800))
        answers = transport.poll(timedelta(0))
        while len(nginx.requests()) < 101:
            time.sleep(0.01)
        time.sleep(1.5 * timeout.total_seconds())
        answers += transport.poll(timedelta(0))
    assert sorted(answers) == [(number, Answer(201)) for number in range(100)]


@pytest.mark.parametrize("nginx", ["keepalive_requests 50;"], indirect=True)
def test_requests_outlive_connections_that_the_push_service_ends(nginx: Nginx) -> None:
    with make_transport(nginx) as transport:
        for _ in range(10):
            assert send(transport, *[URL] * 100) == [Answer(201)] * 100
    assert len({connection for _, connection, _ in nginx.requests()}) >= 20


def test_without_http2_each_request_has_its_turn(nginx: Nginx) -> None:
    with make_transport(nginx, nginx.port_without_http2, connections_per_host=1) as transport:
        for number in range(100):
            transport.submit(number, PushRequest(URL, (), b"x"))
        answered: list[object] = []
        while transport.in_flight:
            answered += [token for token, _ in transport.poll(AT_MOST)]
    assert answered == list(range(100))
    assert {(protocol, status) for protocol, _, status in nginx.requests()} == {("HTTP/1.1", "201")}


@pytest.mark.parametrize("nginx", ["keepalive_timeout 0;"], indirect=True)
def test_without_http2_nobody_waits_for_anothers_connection(nginx: Nginx) -> None:
    with make_transport(nginx, nginx.port_without_http2) as transport:
        assert send(transport, URL) == [Answer(201)]
        for path in ("/silent", ""):
            transport.submit(path, PushRequest(URL + path, (), b"x"))
        assert transport.poll(timedelta(seconds=2)) == [("", Answer(201))]


def test_a_host_that_nobody_knows_gets_one_request_before_the_others(nginx: Nginx) -> None:
    with make_transport(nginx, timeout=timedelta(seconds=1)) as transport:
        answers = send(transport, *[URL + "/silent"] * 20)
        assert [answer.status for answer in answers] == [None] * 20
        assert [answer.request_written for answer in answers].count(True) == 1
        assert send(transport, *[URL] * 20) == [Answer(201)] * 20
        answers = send(transport, *[URL + "/silent"] * 20)
        assert [answer.request_written for answer in answers].count(True) > 1


def test_what_is_not_sent_yet_can_be_taken_back(nginx: Nginx) -> None:
    with make_transport(nginx) as transport:
        for number in range(10):
            transport.submit(number, PushRequest(URL, ("TTL: 60",), b"x"))
        recalled = transport.recall(lambda number: number != 4)
        assert sorted(recalled, key=str) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert transport.in_flight == 1
        assert transport.poll(AT_MOST) == [(4, Answer(201))]
        assert transport.recall(lambda _: True) == []
        assert send(transport, URL) == [Answer(201)]
        assert send(transport, *[URL] * 3) == [Answer(201)] * 3
        for number in range(3):  # on handles that have sent something before
            transport.submit(number, PushRequest(URL, ("TTL: 60",), b"x"))
        assert len(transport.recall(lambda _: True)) == 3
        assert transport.in_flight == 0
    assert len(nginx.requests()) <= 5, "nobody was sent what had been taken back"


def test_answers_are_told_apart_on_one_connection(nginx: Nginx) -> None:
    base = f"https://{HOST}"
    with make_transport(nginx) as transport:
        answers = send(transport, *[base + "/gone", base + "/busy", base + "/x"] * 10)
    assert answers == [Answer(410), Answer(429, retry_after="7"), Answer(201)] * 10


def test_a_certificate_that_nobody_trusts_is_written_nothing(nginx: Nginx) -> None:
    with Transport(connect_to=[f"{HOST}:443:127.0.0.1:{nginx.port}"]) as transport:
        [answer] = send(transport, URL)
    assert answer == Answer(None, request_written=False, error="PEER_FAILED_VERIFICATION")
    assert nginx.requests() == []


def test_a_certificate_for_another_host_is_written_nothing(nginx: Nginx) -> None:
    entry = f"fcm.googleapis.com:443:127.0.0.1:{nginx.port}"
    with Transport(connect_to=[entry], ca_file=nginx.certificate) as transport:
        [answer] = send(transport, "https://fcm.googleapis.com/x")
    assert answer == Answer(None, request_written=False, error="PEER_FAILED_VERIFICATION")
    assert nginx.requests() == []


class DeafRelay:
    """Passes connections on to a port, until told to go deaf on those that are open.

    A deaf connection stays open and takes everything, as behind a router that has forgotten it.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._deaf: set[socket.socket] = set()
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def go_deaf(self) -> None:
        self._deaf.update(*self._pairs)

    def close(self) -> None:
        self._waker.send(b"x")
        self._thread.join()
        for opened in (self._listener, self._wake, self._waker, *sum(self._pairs, ())):
            opened.close()

    def _run(self) -> None:
        while True:
            peers = {a: b for pair in self._pairs for a, b in (pair, pair[::-1])}
            ready, _, _ = select.select([self._listener, self._wake, *peers], [], [])
            for readable in ready:
                if readable is self._wake:
                    return
                if readable is self._listener:
                    near, _ = self._listener.accept()
                    self._pairs.append((near, socket.create_connection(("127.0.0.1", self._to))))
                    continue
                try:
                    data = readable.recv(65536)
                    if data and readable not in self._deaf:
                        peers[readable].sendall(data)
                except OSError:
                    data = b""
                if not data:
                    self._pairs = [pair for pair in self._pairs if readable not in pair]
                    readable.close()
                    peers[readable].close()
                    break


def test_a_connection_that_went_deaf_is_left_after_one_timeout(nginx: Nginx) -> None:
    relay = DeafRelay(nginx.port)
    try:
        with make_transport(nginx, relay.port, timeout=timedelta(seconds=1)) as transport:
            assert send(transport, *[URL] * 3) == [Answer(201)] * 3
            relay.go_deaf()
            lost = Answer(None, request_written=True, error="OPERATION_TIMEDOUT")
            assert send(transport, URL) == [lost]
            assert send(transport, *[URL] * 20) == [Answer(201)] * 20
    finally:
        relay.close()


def test_those_that_wait_behind_a_connection_that_went_deaf_go_over_another(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.push.hosts._PRIMED_SECONDS", 0)  # no answer is recent enough
    relay = DeafRelay(nginx.port)
    try:
        with make_transport(nginx, relay.port, timeout=timedelta(seconds=1)) as transport:
            assert send(transport, URL) == [Answer(201)]
            relay.go_deaf()
            lost = Answer(None, request_written=True, error="OPERATION_TIMEDOUT")
            assert send(transport, *[URL] * 20) == [lost, *[Answer(201)] * 19]
    finally:
        relay.close()


def test_what_is_shown_of_a_message_that_was_not_answered_holds_no_secret(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "TIMEOUT", timedelta(seconds=3))
    reader = ec.generate_private_key(ec.SECP256R1()).public_key()
    endpoint = f"https://{HOST}/wpush/v2/a-readers-capability/silent"
    exchange = single.send_fast(
        Target(endpoint, encode_point(reader), bytes(16), 1),
        b"a test",
        VapidSigner({1: VapidKey.generate().with_id(1)}, "mailto:ops@example.com"),
        EndpointPolicy(),
        ttl=timedelta(minutes=1),
        connect_to=(f"{HOST}:443:127.0.0.1:{nginx.port}",),
        ca_file=nginx.certificate,
    )
    assert exchange.outcome == Unreachable(None, ambiguous=True)
    shown = "\n".join([*exchange.connection, *exchange.request])
    assert "HTTP/2" in shown
    assert "a-readers-capability" not in shown
    assert "eyJ" not in shown  # how a signed token begins

"""The transport against real servers, most of them badly behaved."""

import contextlib
import gzip
import http.server
import multiprocessing
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
from scripted_server import ScriptedServer

from notifier.push.exchange import MAX_BODY, PushRequest
from notifier.push.outcome import Answer
from notifier.push.transport import Transport

AT_MOST = timedelta(seconds=30)


@pytest.fixture
def transport() -> Iterator[Transport]:
    with Transport() as transport:
        yield transport


def post(transport: Transport, url: str, body: bytes = b"x", *headers: str) -> Answer:
    transport.submit("token", PushRequest(url, headers, body))
    [(token, answer)] = wait_for(transport, 1)
    assert token == "token"
    return answer


def wait_for(transport: Transport, count: int) -> list[tuple[object, Answer]]:
    answers: list[tuple[object, Answer]] = []
    deadline = time.monotonic() + AT_MOST.total_seconds()
    while len(answers) < count:
        assert time.monotonic() < deadline
        answers += transport.poll(timedelta(seconds=1))
    assert transport.in_flight == 0
    return answers


def refusing_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_a_request_arrives_as_it_was_given(
    transport: Transport, push_server: ScriptedServer
) -> None:
    body = bytes(range(256)) * 10
    url = push_server.origin + "/a/../b//%2E%2E/c?d=%20&e={[}]"
    answer = post(transport, url, body, "TTL: 60", "Content-Type: application/octet-stream")
    assert answer == Answer(201)
    [request] = push_server.received
    assert request.body == body
    assert request.path == "/a/../b//%2E%2E/c?d=%20&e={[}]"
    assert request.headers["ttl"] == "60"
    assert request.headers["content-type"] == "application/octet-stream"
    assert "accept-encoding" not in request.headers
    assert "cookie" not in request.headers
    assert "expect" not in request.headers


def test_an_empty_body_and_the_next_request_on_the_same_handle(push_server: ScriptedServer) -> None:
    with Transport(concurrency=1) as transport:
        post(transport, push_server.origin + "/first", b"long body", "Topic: x")
        post(transport, push_server.origin + "/second", b"", "TTL: 0")
    first, second = push_server.received
    assert (first.body, first.headers.get("topic")) == (b"long body", "x")
    assert (second.body, second.headers.get("topic")) == (b"", None)


def test_what_the_outcome_needs_is_taken_from_the_headers(
    transport: Transport, push_server: ScriptedServer
) -> None:
    push_server.answer("/busy", 429, Retry_After="120")
    push_server.answer("/wns", 200, X_WNS_Status="dropped")
    assert post(transport, push_server.origin + "/busy") == Answer(429, retry_after="120")
    assert post(transport, push_server.origin + "/wns") == Answer(200, wns_status="dropped")
    assert post(transport, push_server.origin + "/plain") == Answer(201)


def test_redirects_are_not_followed(
    transport: Transport, push_server: ScriptedServer, other_server: ScriptedServer
) -> None:
    for status in (301, 302, 303, 307, 308):
        url = push_server.answer(f"/{status}", status, Location=other_server.origin + "/x")
        assert post(transport, url) == Answer(status)
    assert other_server.received == []


def test_proxies_and_netrc_of_the_environment_are_ignored(
    push_server: ScriptedServer,
    other_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(name, other_server.origin)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login reader password secret\n")
    with Transport() as transport:
        assert post(transport, push_server.origin + "/x") == Answer(201)
    assert other_server.received == []
    [request] = push_server.received
    assert "authorization" not in request.headers


def test_cookies_are_not_kept(transport: Transport, push_server: ScriptedServer) -> None:
    url = push_server.answer("/x", 201, Set_Cookie="a=b; Path=/")
    post(transport, url)
    post(transport, url)
    assert "cookie" not in push_server.received[1].headers


@pytest.mark.parametrize(
    ("start", "endless", "answer"),
    [
        (b"HTTP/1.1 201 Created\r\n\r\n", b"x" * 1000, Answer(201, error="WRITE_ERROR")),
        (b"HTTP/1.1 503 Busy\r\n", b"X: %s\r\n" % (b"y" * 1000), Answer(503, error="RECV_ERROR")),
        (b"HTTP/1.1 503 Busy\r\nX: ", b"y" * 1000, Answer(503, error="TOO_LARGE")),
        (b"", b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n", Answer(None, error="TOO_LARGE")),
    ],
    ids=["body", "headers", "header", "interim answers"],
)
def test_an_endless_answer_is_cut_off(
    transport: Transport, push_server: ScriptedServer, start: bytes, endless: bytes, answer: Answer
) -> None:
    hung_up = threading.Event()

    def pour(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.wfile.write(start)
        try:
            while not push_server.released.is_set():
                handler.wfile.write(endless * 64)
        except OSError:
            hung_up.set()

    assert post(transport, push_server.run("/endless", pour)) == answer
    [exchange] = transport._idle
    assert sum(map(len, exchange._answer_lines)) < 320_000  # what is kept in memory
    assert hung_up.wait(AT_MOST.total_seconds())
    assert post(transport, push_server.origin + "/next") == Answer(201)


def test_a_compressed_answer_is_not_unpacked(
    transport: Transport, push_server: ScriptedServer
) -> None:
    bomb = gzip.compress(bytes(2_000_000))
    assert len(bomb) < MAX_BODY
    head = b"HTTP/1.1 201 Created\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(
        bomb
    )
    assert post(transport, push_server.answer_raw("/bomb", head + bomb)) == Answer(201)
    broken = b"HTTP/1.1 201 Created\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nxyz"
    assert post(transport, push_server.answer_raw("/broken", broken)) == Answer(201)


def test_a_slow_answer_is_given_up_with_the_request_written(push_server: ScriptedServer) -> None:
    with Transport(timeout=timedelta(milliseconds=200)) as transport:
        answer = post(transport, push_server.hold("/slow"))
    assert answer == Answer(None, request_written=True, error="OPERATION_TIMEDOUT")


def test_what_was_answered_in_time_counts_when_it_is_read_late(
    push_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who polls may have had to wait for a database meanwhile."""
    monkeypatch.setattr("notifier.push.transport._LATE", 0.1)
    timeout, answered = 0.3, threading.Event()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        answered.set()

    in_time, never = push_server.run("/in-time", answer), push_server.hold("/never")
    with Transport(
        timeout=timedelta(seconds=timeout), connect_timeout=timedelta(seconds=timeout / 3)
    ) as transport:
        for url in (in_time, never):
            transport.submit(url, PushRequest(url, (), b"x"))
        answers = transport.poll(timedelta(0))
        while not answered.is_set():
            answers += transport.poll(timedelta(0))
        time.sleep(2 * timeout)
        answers += wait_for(transport, 2 - len(answers))
        assert dict(answers) == {
            in_time: Answer(201),
            never: Answer(None, request_written=True, error="OPERATION_TIMEDOUT"),
        }
        # The handles, which are used again, still know their time; so does one that is late itself.
        assert [post(transport, never).error for _ in range(2)] == ["OPERATION_TIMEDOUT"] * 2
        time.sleep(2 * timeout)
        assert post(transport, never).error == "OPERATION_TIMEDOUT"


def test_what_had_not_begun_before_a_long_wait_has_all_of_its_time_yet(
    push_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.push.transport._LATE", 0.1)

    def answer_soon(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.1)
        handler.wfile.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    with Transport(timeout=timedelta(seconds=1), connections_per_host=1) as transport:
        for name in "ab":
            url = push_server.run(f"/{name}", answer_soon)
            transport.submit(name, PushRequest(url, (), b"x"))
        answers: list[tuple[object, Answer]] = []
        while not answers:  # and with the answer to the first, it is the other's turn
            answers = transport.poll(timedelta(seconds=1))
        time.sleep(1.1)
        answers += wait_for(transport, 1)
    assert answers == [("a", Answer(201)), ("b", Answer(201))]


def test_a_status_counts_when_its_body_never_comes(push_server: ScriptedServer) -> None:
    def begin(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 5\r\n\r\n")
        push_server.released.wait(AT_MOST.total_seconds())

    with Transport(timeout=timedelta(milliseconds=200)) as transport:
        answer = post(transport, push_server.run("/slow", begin))
    assert answer == Answer(410, error="OPERATION_TIMEDOUT")


def test_a_refused_connection_has_written_nothing(push_server: ScriptedServer) -> None:
    with Transport(concurrency=1) as transport:  # one handle: the second status must not linger
        assert post(transport, push_server.origin + "/x") == Answer(201)
        answer = post(transport, f"http://127.0.0.1:{refusing_port()}/x")
    assert answer == Answer(None, request_written=False, error="COULDNT_CONNECT")


def test_a_peer_that_never_answers_tls_has_been_written_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Transport(timeout=timedelta(milliseconds=200)) as transport,
    ):
        answer = post(transport, f"https://127.0.0.1:{silent.getsockname()[1]}/x")
    assert answer == Answer(None, request_written=False, error="OPERATION_TIMEDOUT")


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        (b"", Answer(None, error="GOT_NOTHING")),
        (
            b"HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\nabc",
            Answer(201, error="PARTIAL_FILE"),
        ),
        (b"HTTP/1.1 201 Created\r\nX: y\r\n", Answer(201)),
        (b"HTTP/1.1 201 Created\r\n\r\n", Answer(201)),
        (b"HTTP/1.1 103 Early\r\nRetry-After: 1\r\n\r\nHTTP/1.1 201 Created\r\n\r\n", Answer(201)),
        (b"HTTP/1.1 429 Busy\r\nretry-AFTER:\t7 \r\n\r\n", Answer(429, retry_after="7")),
        (b"HTTP/1.1 429 Busy\r\nRetry-After: \xff\r\n\r\n", Answer(429, retry_after="\xff")),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nabcde", Answer(204)),
        (b"HTTP/1.1 201 \0\r\n\r\n", Answer(201, error="WEIRD_SERVER_REPLY")),
        (b"HTTP/1.1 201 a\rb\r\n\r\n", Answer(201, error="WEIRD_SERVER_REPLY")),
    ],
)
def test_odd_answers_are_read_for_what_they_say(
    transport: Transport, push_server: ScriptedServer, raw: bytes, answer: Answer
) -> None:
    assert post(transport, push_server.answer_raw("/odd", raw)) == answer


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x00\x01\x02\x03",
        b"HTTP/1.1 abc Created\r\n\r\n",
        b"HTTP/1.1 099 Created\r\n\r\n",
        b"HTTP/9.9 201 Created\r\n\r\n",
        b"HTTP/2 ",
    ],
)
def test_what_is_no_answer_is_none(
    transport: Transport, push_server: ScriptedServer, raw: bytes
) -> None:
    answer = post(transport, push_server.answer_raw("/odd", raw))
    assert (answer.status, answer.request_written) == (None, True)
    assert answer.error
    assert post(transport, push_server.origin + "/next") == Answer(201)


def test_a_request_that_was_read_before_the_connection_broke_has_been_written(
    transport: Transport,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"

        def read_two_and_die() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as requests:
                _read_request(requests)
                connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                _read_request(requests)
                listening.close()  # so that libcurl, which tries again by itself, is refused

        server = threading.Thread(target=read_two_and_die)
        server.start()
        assert post(transport, url) == Answer(201)
        answer = post(transport, url)
        server.join()
    assert answer == Answer(None, request_written=True, error="COULDNT_CONNECT")


def _read_request(requests: BinaryIO) -> None:
    while (line := requests.readline()).strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    requests.read(length)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://",
        "http://\udcff/",
        "http://127.0.0.1:99999/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
def test_what_cannot_be_sent_is_answered_like_everything_else(
    transport: Transport, url: str
) -> None:
    answer = post(transport, url)
    assert (answer.status, answer.request_written) == (None, False)
    assert answer.error


def test_errors_name_no_host(transport: Transport) -> None:
    answer = post(transport, "https://secret-capability.invalid/secret-path")
    assert (answer.status, answer.request_written) == (None, False)
    assert answer.error == "COULDNT_RESOLVE_HOST"


def test_many_requests_at_once_are_each_answered_once(push_server: ScriptedServer) -> None:
    with Transport(concurrency=20, connections_per_host=3) as transport:
        answered: list[object] = []
        for number in range(200):
            while not transport.free:
                answered += [token for token, _ in transport.poll(AT_MOST)]
            transport.submit(number, PushRequest(f"{push_server.origin}/{number}", (), b"x"))
            assert transport.in_flight + transport.free == 20
        while transport.in_flight:
            answered += [token for token, _ in transport.poll(AT_MOST)]
    assert sorted(answered) == list(range(200))  # type: ignore[type-var]
    assert sorted(int(request.path[1:]) for request in push_server.received) == list(range(200))


def test_a_host_gets_only_so_many_connections(push_server: ScriptedServer) -> None:
    url = push_server.hold("/slow")
    with Transport(connections_per_host=2) as transport:
        for number in range(10):
            transport.submit(number, PushRequest(url, (), b"x"))
        deadline = time.monotonic() + AT_MOST.total_seconds()
        while len(push_server.received) < 2:
            assert time.monotonic() < deadline
            transport.poll(timedelta(milliseconds=10))
        transport.poll(timedelta(milliseconds=100))
        assert len(push_server.received) == 2
        push_server.released.set()
        wait_for(transport, 10)
    assert len(push_server.received) == 10


def test_what_waits_for_a_connection_has_its_turn_and_does_not_time_out(
    push_server: ScriptedServer,
) -> None:
    def answer_late(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.1)
        handler.send_response(201)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    request = PushRequest(push_server.run("/late", answer_late), (), b"x")
    connect_timeout = timedelta(seconds=1)
    answered: list[tuple[object, Answer]] = []
    with Transport(connections_per_host=1, connect_timeout=connect_timeout) as transport:
        for number in range(20):
            transport.submit(number, request)
        while transport.in_flight:
            answered += transport.poll(AT_MOST)
    assert answered == [(number, Answer(201)) for number in range(20)]


def test_more_than_the_concurrency_is_refused(push_server: ScriptedServer) -> None:
    with Transport(concurrency=1) as transport:
        transport.submit(1, PushRequest(push_server.origin + "/x", (), b""))
        assert transport.free == 0
        with pytest.raises(RuntimeError):
            transport.submit(2, PushRequest(push_server.origin + "/x", (), b""))
        assert [token for token, _ in wait_for(transport, 1)] == [1]


def test_polling_an_idle_transport_returns_at_once(transport: Transport) -> None:
    assert transport.poll(timedelta(hours=1)) == []


def test_polling_waits_no_longer_than_told(push_server: ScriptedServer) -> None:
    url = push_server.hold("/slow")
    with Transport(timeout=timedelta(hours=1)) as transport:
        transport.submit(1, PushRequest(url, (), b""))
        for duration in (timedelta(0), timedelta(milliseconds=50), timedelta(seconds=-1)):
            assert transport.poll(duration) == []
        push_server.released.set()
        assert wait_for(transport, 1) == [(1, Answer(201))]


def test_waiting_for_an_answer_is_sleep(
    push_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float | None] = []
    select = selectors.DefaultSelector.select

    def noted(self: selectors.DefaultSelector, timeout: float | None = None) -> object:
        waits.append(timeout)
        return select(self, timeout)

    monkeypatch.setattr(selectors.DefaultSelector, "select", noted)
    with Transport(timeout=timedelta(milliseconds=300)) as transport:
        answer = post(transport, push_server.hold("/slow"))
    assert answer == Answer(None, request_written=True, error="OPERATION_TIMEDOUT")
    assert len(waits) < 30  # a handful; polling without sleep would take thousands


def test_closing_in_the_middle_leaves_nothing_open(push_server: ScriptedServer) -> None:
    url = push_server.hold("/slow")
    transport = Transport()
    for number in range(8):
        transport.submit(number, PushRequest(url, (), b"x"))
    transport.poll(timedelta(milliseconds=100))
    assert push_server.port in ports_connected_to()
    transport.close()
    transport.close()
    assert transport.in_flight == 0
    assert push_server.port not in ports_connected_to()


def ports_connected_to() -> set[int]:
    """The ports that sockets of this process are connected to."""
    ports = set()
    for descriptor in range(256):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
            if copy.family == socket.AF_INET:
                ports.add(copy.getpeername()[1])
    return ports


def _poll_in_child(transport: Transport, connection: object) -> None:
    try:
        transport.submit(1, PushRequest("http://127.0.0.1:1/", (), b""))
        transport.poll(AT_MOST)
    except RuntimeError as error:
        connection.send(str(error))  # type: ignore[attr-defined]


def test_a_child_process_may_not_use_its_parents_transport(transport: Transport) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_poll_in_child, args=(transport, theirs))
    child.start()
    child.join(AT_MOST.total_seconds())
    assert "fork" in ours.recv()
    ours.close()
    theirs.close()

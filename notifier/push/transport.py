"""HTTP/2 to many endpoints at once: requests in, answers out, on libcurl's multi interface."""

import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import pycurl

from notifier.push.outcome import Answer
from notifier.push.pace import Pace

MAX_ANSWER = 16 * 1024
"""Bytes of an answer, headers and body, that are read before it is cut off."""

PRIMED_FOR = timedelta(seconds=10)
"""For so long after a host's last answer a connection is taken to be open, and known."""

_PRIMED_SECONDS = PRIMED_FOR.total_seconds()  # asked for every request
_REMEMBERED_CONNECTIONS = 1024
_REMEMBERED_HOSTS = 1024
_SMALLEST_BUFFER = 16 * 1024  # bytes; libcurl takes no less
_FIRST_LETTERS = frozenset((b"R", b"r", b"X", b"x", b"H"))  # Retry-After, X-WNS-Status, HTTP/
_ERROR_NAMES = {
    getattr(pycurl, name): name.removeprefix("E_")
    for name in sorted(dir(pycurl), reverse=True)  # of synonyms, the first in the alphabet
    if name.startswith("E_") and not name.startswith(("E_FTP_", "E_MULTI_"))
}
_INTERESTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class PushRequest(NamedTuple):
    """One POST. `headers` are whole lines, "Name: value", without line ends."""

    url: str
    headers: tuple[str, ...]
    body: bytes


class Transport:
    """Sends requests side by side and hands back their answers in the order they come.

    At most `concurrency` requests are in flight, fewer where more would not be faster (see
    `notifier.push.pace`), over at most `connections_per_host` connections to each host. A host
    that speaks HTTP/2 gets them multiplexed, and another connection only when those that there
    are carry a hundred requests each, or as many as the host allows. How many that is stands in
    its SETTINGS, and until they have come libcurl takes it to be a hundred: so a host that has not
    answered lately gets one request first, and the others with its answer; if that request fails,
    they have failed with it. A request has `timeout` from
    `submit` to the end of its answer, of which connecting may take `connect_timeout`.
    `connect_to` holds libcurl's HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT entries, and `ca_file`
    the certificates to trust instead of the system's: both are for development. `trace` is called
    with all that goes over the wire, secrets included, after one of pycurl's INFOTYPE_ numbers.

    Redirects, proxies, cookies, .netrc and compression do not exist here, whatever the environment
    says. For one thread; make it after a fork, never before one.
    """

    def __init__(
        self,
        *,
        concurrency: int = 100,
        timeout: timedelta = timedelta(seconds=5),
        connect_timeout: timedelta = timedelta(seconds=3),
        connections_per_host: int = 8,
        connect_to: Sequence[str] = (),
        ca_file: Path | None = None,
        trace: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._pace = Pace(concurrency, time.monotonic())
        self._options: list[tuple[int, object]] = [
            (pycurl.POST, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | pycurl.PROTO_HTTP),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.NOSIGNAL, 1),
            # A message is small, and every handle keeps such a buffer: four times as large unless
            # told otherwise.
            (pycurl.UPLOAD_BUFFERSIZE, _SMALLEST_BUFFER),
            (pycurl.TIMEOUT_MS, _milliseconds(timeout)),
            (pycurl.CONNECTTIMEOUT_MS, _milliseconds(min(connect_timeout, timeout))),
        ]
        if connect_to:
            self._options.append((pycurl.CONNECT_TO, list(connect_to)))
        if ca_file is not None:
            self._options.append((pycurl.CAINFO, str(ca_file)))
        if trace is not None:
            self._options += [(pycurl.VERBOSE, 1), (pycurl.DEBUGFUNCTION, trace)]

        self._pid = os.getpid()
        self._busy: dict[pycurl.Curl, _Exchange] = {}
        self._idle: list[_Exchange] = []
        self._unsent: list[tuple[object, Answer]] = []
        self._hosts: dict[str, _Host] = {}
        self._queued = 0  # at hosts that are being primed
        self._answered_at: dict[int, float] = {}  # by libcurl's number of the connection
        self._timer_at = math.inf
        self._selector = selectors.DefaultSelector()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections_per_host)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def in_flight(self) -> int:
        """How many requests have been submitted whose answers `poll` has not handed back."""
        return len(self._busy) + self._queued + len(self._unsent)

    @property
    def free(self) -> int:
        """How many requests may be submitted now."""
        return self._pace.limit - len(self._busy) - self._queued - len(self._unsent)

    def submit(self, token: object, request: PushRequest) -> None:
        """Send a request; `poll` will hand back `token` with its answer.

        Nothing is sent before the next `poll`. Raises RuntimeError when none is free.
        """
        if self.free <= 0:
            raise RuntimeError("as many requests are in flight as the transport allows")
        if os.getpid() != self._pid:
            raise RuntimeError("the transport was made before a fork and belongs to the parent")
        exchange = self._idle.pop() if self._idle else _Exchange(self._options)
        try:
            exchange.prepare(token, request)
        except (pycurl.error, UnicodeError):  # not a URL or header that libcurl could send
            self._give_up(exchange, "URL_MALFORMAT")
            return
        exchange.host = host = self._host_of(request.url)
        if host is None or not host.in_flight or host.is_known(exchange.submitted_at):
            self._send(exchange)
        else:
            host.queue.append(exchange)
            self._queued += 1

    def recall(self, which: Callable[[object], bool]) -> list[object]:
        """Take back those of the requests that `which` chooses by token and that are not sent yet.

        Returns their tokens. A request is sent as soon as the first byte of it has been.
        """
        recalled: list[_Exchange] = []
        for host in self._hosts.values():
            chosen = [exchange for exchange in host.queue if which(exchange.token)]
            host.queue = [exchange for exchange in host.queue if exchange not in chosen]
            self._queued -= len(chosen)
            recalled += chosen
        for exchange in list(self._busy.values()):
            if which(exchange.token) and not exchange.curl.getinfo(pycurl.REQUEST_SIZE):
                del self._busy[exchange.curl]
                self._multi.remove_handle(exchange.curl)
                self._leave_host(exchange, has_failed=False)
                recalled.append(exchange)
        self._idle += recalled
        return [exchange.token for exchange in recalled]

    def poll(self, wait: timedelta) -> list[tuple[object, Answer]]:
        """Send and receive until there are answers, for at most `wait`.

        Returns the answers with the tokens of their requests; at once when nothing is in flight.
        """
        answers, self._unsent = self._unsent, []
        if not self._busy:
            return answers  # then nothing is queued either: it waits for one that is busy
        is_full = self.free <= 0
        now = time.monotonic()
        until = 0.0 if answers else now + wait.total_seconds()
        waited = 0.0
        while True:
            waited += self._drive(until)
            answers += self._finished()
            now = time.monotonic()
            if answers or not self._busy or now >= until:
                self._pace.note(now, waited=waited if is_full else 0.0, answers=len(answers))
                return answers

    def close(self) -> None:
        """Abandon what is in flight and close every connection. Closing twice is fine."""
        if self._multi.closed:
            return
        for exchange in self._busy.values():
            self._multi.remove_handle(exchange.curl)
        queued = [exchange for host in self._hosts.values() for exchange in host.queue]
        for exchange in (*self._busy.values(), *queued, *self._idle):
            exchange.curl.close()
        self._busy.clear()
        self._idle.clear()
        self._hosts.clear()
        self._queued = 0
        self._unsent.clear()
        self._multi.close()
        self._selector.close()

    def _host_of(self, url: str) -> "_Host | None":
        """What is known of a URL's host; None where HTTP/2 cannot come of it, without TLS."""
        if not url.startswith("https:"):
            return None
        origin = url[: url.find("/", len("https://"))]
        host = self._hosts.get(origin)
        if host is None:
            if len(self._hosts) >= _REMEMBERED_HOSTS:
                self._hosts = {name: one for name, one in self._hosts.items() if one.in_flight}
            host = self._hosts[origin] = _Host()
        return host

    def _send(self, exchange: "_Exchange") -> None:
        try:
            self._multi.add_handle(exchange.curl)
        except pycurl.error:
            self._give_up(exchange, "FAILED_INIT")
            return
        self._busy[exchange.curl] = exchange
        if exchange.host is not None:
            exchange.host.in_flight += 1

    def _give_up(self, exchange: "_Exchange", error: str) -> None:
        self._idle.append(exchange)
        self._unsent.append((exchange.token, Answer(None, request_written=False, error=error)))

    def _leave_host(self, exchange: "_Exchange", *, has_failed: bool) -> None:
        """Note that a request is over; those that waited for its answer go, or fail as it did."""
        host = exchange.host
        if host is None:
            return
        host.in_flight -= 1
        is_known = host.is_known(time.monotonic())
        if not host.queue or (host.in_flight and not is_known):
            return
        queue, host.queue = host.queue, []
        self._queued -= len(queue)
        for waiting in queue:
            if has_failed and not is_known:
                self._give_up(waiting, "COULDNT_CONNECT")
            elif is_known or not host.in_flight:
                self._send(waiting)
            else:
                host.queue.append(waiting)
                self._queued += 1

    def _drive(self, until: float) -> float:
        """Let libcurl work on whatever is ready, waiting for it no longer than `until`.

        Returns how many seconds were spent waiting.
        """
        started = time.monotonic()
        events_by_key = self._selector.select(max(0.0, min(until, self._timer_at) - started))
        waited = time.monotonic() - started
        for key, events in events_by_key:
            ready = 0
            if events & selectors.EVENT_READ:
                ready |= pycurl.CSELECT_IN
            if events & selectors.EVENT_WRITE:
                ready |= pycurl.CSELECT_OUT
            self._multi.socket_action(key.fd, ready)
        if time.monotonic() >= self._timer_at:
            self._timer_at = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return waited

    def _finished(self) -> list[tuple[object, Answer]]:
        answers: list[tuple[object, Answer]] = []
        left = 1
        while left:
            left, answered, failed = self._multi.info_read()
            answers += [self._finish(curl, None) for curl in answered]
            answers += [self._finish(curl, number) for curl, number, _naming_the_host in failed]
        return answers

    def _finish(self, curl: pycurl.Curl, error_number: int | None) -> tuple[object, Answer]:
        exchange = self._busy.pop(curl)
        answer = exchange.answer(error_number)
        if answer.status is not None:
            self._remember_answer(exchange)
        elif error_number == pycurl.E_OPERATION_TIMEDOUT and answer.request_written:
            self._hang_up_if_dead(exchange)
        self._multi.remove_handle(curl)
        self._idle.append(exchange)
        token, exchange.token = exchange.token, None
        self._leave_host(exchange, has_failed=answer.status is None)
        return token, answer

    def _remember_answer(self, exchange: "_Exchange") -> None:
        now = time.monotonic()
        if exchange.host is not None:
            exchange.host.answered_at = now
        connection = exchange.curl.getinfo(pycurl.CONN_ID)
        self._answered_at.pop(connection, None)
        self._answered_at[connection] = now
        if len(self._answered_at) > _REMEMBERED_CONNECTIONS:
            del self._answered_at[next(iter(self._answered_at))]

    def _hang_up_if_dead(self, exchange: "_Exchange") -> None:
        """Break a connection that has answered nothing since a request that timed out on it.

        libcurl gives up only the one stream, and would put every further request on the same dead
        connection until TCP notices, which takes a quarter of an hour.
        """
        connection = exchange.curl.getinfo(pycurl.CONN_ID)
        if self._answered_at.get(connection, -math.inf) >= exchange.submitted_at:
            return
        descriptor = exchange.curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor < 0:
            return
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)  # libcurl sees its end and closes it
        except OSError:
            pass  # it has ended meanwhile
        finally:
            borrowed.detach()

    def _watch(self, what: int, descriptor: int, _multi: object, _assigned: object) -> None:
        watched = descriptor in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if watched:
                self._selector.unregister(descriptor)
        elif watched:
            self._selector.modify(descriptor, _INTERESTS[what])
        else:
            self._selector.register(descriptor, _INTERESTS[what])

    def _set_timer(self, milliseconds: int) -> None:
        self._timer_at = math.inf if milliseconds < 0 else time.monotonic() + milliseconds / 1000


@dataclass(slots=True)
class _Host:
    """What a host has on its way, what waits for its first answer, and when it answered last."""

    in_flight: int = 0
    queue: "list[_Exchange]" = field(default_factory=list)
    answered_at: float = -math.inf

    def is_known(self, now: float) -> bool:
        """Whether it has answered lately, so that libcurl knows how much it takes."""
        return now - self.answered_at < _PRIMED_SECONDS


class _Exchange:
    """One request and its answer on one of libcurl's handles, which are used again and again."""

    __slots__ = (
        "curl",
        "headers",
        "host",
        "is_secure",
        "received",
        "request",
        "retry_after",
        "submitted_at",
        "token",
        "wns_status",
    )

    def __init__(self, options: Sequence[tuple[int, object]]) -> None:
        self.curl = pycurl.Curl()
        self.headers: tuple[str, ...] | None = None
        self.host: _Host | None = None
        self.is_secure: bool | None = None
        for option, value in options:
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._read_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._read_body)

    def prepare(self, token: object, request: PushRequest) -> None:
        self.token = token
        self.request = request
        self.received = 0
        self.retry_after: str | None = None
        self.wns_status: str | None = None
        self.submitted_at = time.monotonic()
        self.curl.setopt(pycurl.URL, request.url)
        is_secure = request.url.startswith("https:")
        if is_secure is not self.is_secure:
            # Wait to share a connection that is being made, but only where HTTP/2 may come of it:
            # without TLS libcurl would wait for the whole first answer.
            self.curl.setopt(pycurl.PIPEWAIT, is_secure)
            self.is_secure = is_secure
        # Most requests carry the headers of the one before, and libcurl has kept those.
        if request.headers is not self.headers:
            self.curl.setopt(pycurl.HTTPHEADER, request.headers)
            self.headers = request.headers
        self.curl.setopt(pycurl.POSTFIELDS, request.body)

    def answer(self, error_number: int | None) -> Answer:
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        error = None
        if error_number is not None:
            error = _ERROR_NAMES.get(error_number, f"CURLE_{error_number}")
        if status >= 200:
            return Answer(status, self.retry_after, self.wns_status, True, error)
        written = self.curl.getinfo(pycurl.SIZE_UPLOAD_T) >= len(self.request.body)
        return Answer(None, request_written=written, error=error)

    def _read_header(self, line: bytes) -> int | None:
        """Note what matters of one header line; 0 breaks off, None goes on."""
        self.received += len(line)
        if self.received > MAX_ANSWER:
            return 0
        if line[:1] in _FIRST_LETTERS:  # most lines are spared a closer look
            name, _, value = line.partition(b":")
            match name.lower():
                case b"retry-after":
                    self.retry_after = value.strip().decode("latin-1")
                case b"x-wns-status":
                    self.wns_status = value.strip().decode("latin-1")
                case _ if line.startswith(b"HTTP/"):  # what came before was an interim answer's
                    self.retry_after = self.wns_status = None
        return None

    def _read_body(self, data: bytes) -> int:
        """Throw a part of the body away; returns how much was taken, 0 to break off."""
        self.received += len(data)
        return len(data) if self.received <= MAX_ANSWER else 0


def _milliseconds(duration: timedelta) -> int:
    return max(1, math.ceil(duration / timedelta(milliseconds=1)))

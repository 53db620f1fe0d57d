"""HTTP/2 to many endpoints at once: requests in, answers out, on libcurl's multi interface."""

import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import pycurl

from notifier.push.exchange import Exchange, PushRequest
from notifier.push.hosts import Hosts
from notifier.push.outcome import Answer
from notifier.push.pace import Pace

_LATE = 1.0  # seconds without a poll
_CLOCKS_DIFFER_BY = 0.1  # seconds; libcurl's is not quite ours
_REMEMBERED_CONNECTIONS = 1024
_SMALLEST_BUFFER = 16 * 1024  # bytes; libcurl takes no less
_INTERESTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class Transport:
    """Sends requests side by side and hands back their answers in the order they come.

    At most `concurrency` requests are in flight, fewer where more would not be faster (see
    `notifier.push.pace`), over at most `connections_per_host` connections to each host. A host
    that speaks HTTP/2 gets them multiplexed, and another connection only when those that there
    are carry a hundred requests each, or as many as the host allows. If it has not answered
    lately it gets one request first, and the others with its answer. Over HTTP/1.1 each connection
    carries one request, and the others wait for their turn. When a request fails at a host that
    has not answered lately, those that wait have failed with it. A request has `timeout` from its
    turn to the end of its answer, of which connecting may take `connect_timeout`. `connect_to`
    holds libcurl's HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT entries, for development, and
    `ca_file` the certificates to trust instead of the system's. `trace` is called with all that
    goes over the wire, secrets included, after one of pycurl's INFOTYPE_ numbers.

    Redirects, proxies, cookies, .netrc and compression do not exist here, whatever the environment
    says. For one thread; make it after a fork, never before one.
    """

    def __init__(
        self,
        *,
        concurrency: int = 100,
        timeout: timedelta = timedelta(seconds=5),
        connect_timeout: timedelta = timedelta(seconds=3),
        connections_per_host: int = 32,
        connect_to: Sequence[str] = (),
        ca_file: Path | None = None,
        trace: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self._pace = Pace(concurrency, time.monotonic())
        self._timeout = timeout
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
        self._busy: dict[pycurl.Curl, Exchange] = {}
        self._idle: list[Exchange] = []
        self._given_up: list[tuple[object, Answer]] = []
        self._hosts: Hosts[Exchange] = Hosts(connections_per_host)
        self._driven_at = -math.inf  # when libcurl was last given time to work
        self._queued = 0  # for hosts that take no more now
        self._answered_at: dict[int, float] = {}  # by libcurl's number of the connection
        self._selector = selectors.DefaultSelector()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, connections_per_host)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

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
        return len(self._busy) + self._queued + len(self._given_up)

    @property
    def free(self) -> int:
        """How many requests may be submitted now; below 0 when fewer are allowed than before."""
        return self._pace.limit - len(self._busy) - self._queued - len(self._given_up)

    def submit(self, token: object, request: PushRequest) -> None:
        """Send a request; `poll` will hand back `token` with its answer.

        Nothing is sent before the next `poll`. Raises RuntimeError when none is free.
        """
        if self.free <= 0:
            raise RuntimeError("as many requests are in flight as the transport allows")
        exchange = self._idle.pop() if self._idle else Exchange(self._options)
        try:
            exchange.prepare(token, request, self._hosts.of(request.url))
        except (pycurl.error, UnicodeError):  # not a URL or header that libcurl could send
            self._give_up(exchange, "URL_MALFORMAT")
            return
        if exchange.host.takes_more(time.monotonic()):
            self._send(exchange)
        else:
            exchange.host.queue.append(exchange)
            self._queued += 1

    def recall(self, which: Callable[[object], bool]) -> list[object]:
        """Take back those of the requests that `which` chooses by token and that are not sent yet.

        Returns their tokens. A request is sent as soon as the first byte of it has been.
        """
        recalled: list[Exchange] = []
        for queue in self._hosts.queues():
            chosen = [exchange for exchange in queue if which(exchange.token)]
            for exchange in chosen:
                queue.remove(exchange)
            self._queued -= len(chosen)
            recalled += chosen
        for exchange in list(self._busy.values()):
            if which(exchange.token) and self._is_unsent(exchange):
                del self._busy[exchange.curl]
                self._multi.remove_handle(exchange.curl)
                self._leave_host(exchange, has_failed=False)
                recalled.append(exchange)
        return [self._retire(exchange) for exchange in recalled]

    def poll(self, wait: timedelta) -> list[tuple[object, Answer]]:
        """Send and receive until there are answers, for at most `wait`.

        Returns the answers with the tokens of their requests; at once when nothing is in flight.
        Raises RuntimeError in another process than the one that made the transport.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("the transport was made before a fork and belongs to the parent")
        answers, self._given_up = self._given_up, []
        if not self._busy:
            return answers  # then nothing is queued either: it waits for one that is busy
        is_full = self.free <= 0
        now = time.monotonic()
        if now - self._driven_at > _LATE:
            answers += self._catch_up()
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
        queued = [exchange for queue in self._hosts.queues() for exchange in queue]
        for exchange in (*self._busy.values(), *queued, *self._idle):
            exchange.curl.close()
        self._busy.clear()
        self._idle.clear()
        self._queued = 0
        self._given_up.clear()
        self._multi.close()
        self._selector.close()

    def _send(self, exchange: Exchange) -> None:
        try:
            self._multi.add_handle(exchange.curl)
        except pycurl.error:
            self._give_up(exchange, "FAILED_INIT")
            return
        exchange.sent_at = time.monotonic()
        self._busy[exchange.curl] = exchange
        exchange.host.in_flight += 1

    def _give_up(self, exchange: Exchange, error: str) -> None:
        answer = Answer(None, request_written=False, error=error)
        self._given_up.append((self._retire(exchange), answer))

    def _retire(self, exchange: Exchange) -> object:
        """Keep a handle for another request; returns the token of the one that is over."""
        token, exchange.token = exchange.token, None
        self._idle.append(exchange)
        return token

    def _is_unsent(self, exchange: Exchange) -> bool:
        # Not before libcurl works on a handle again does it forget what that has sent before.
        if exchange.sent_at > self._driven_at:
            return True
        return not exchange.curl.getinfo(pycurl.REQUEST_SIZE)

    def _leave_host(self, exchange: Exchange, *, has_failed: bool) -> None:
        """Note that a request is over; those that waited for its answer go, or fail as it did."""
        host = exchange.host
        host.in_flight -= 1
        if not host.queue:
            return
        now = time.monotonic()
        has_failed = has_failed and not host.is_known(now)
        while host.queue and host.takes_more(now):
            self._queued -= 1
            if has_failed:
                self._give_up(host.queue.popleft(), "COULDNT_CONNECT")
            else:
                self._send(host.queue.popleft())

    def _catch_up(self) -> list[tuple[object, Answer]]:
        """Read all that has come in while nobody polled, before it counts as too late.

        libcurl looks at its clock before it reads; but a caller who had to wait for his database is
        late, and not the answers.
        """
        # The others have not begun, and libcurl sets their timers when they do.
        late = [one for one in self._busy.values() if one.sent_at <= self._driven_at]
        if not late:
            return []
        until = time.monotonic() + _LATE
        try:
            for exchange in late:
                exchange.curl.setopt(pycurl.TIMEOUT_MS, 0)  # none
            while self._has_work() and time.monotonic() < until:
                self._drive(0.0)
        finally:
            for exchange in late:
                exchange.curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(self._timeout))
        answers = self._finished()
        overdue = time.monotonic() - self._timeout.total_seconds() + _CLOCKS_DIFFER_BY
        for exchange in late:
            if exchange.sent_at <= overdue and self._busy.get(exchange.curl) is exchange:
                # libcurl's own timer for it has run out, and does not start again.
                answers.append(self._finish(exchange.curl, pycurl.E_OPERATION_TIMEDOUT))
        return answers

    def _has_work(self) -> bool:
        """Whether libcurl has something to do at once."""
        return self._multi.timeout() == 0 or bool(self._selector.select(0))

    def _drive(self, until: float) -> float:
        """Let libcurl work on whatever is ready, waiting for it no longer than `until`.

        Returns how many seconds were spent waiting.
        """
        # Asked for here: a timer function would be called for every request.
        timeout = self._multi.timeout()  # milliseconds, -1 for none
        started = time.monotonic()
        if timeout >= 0:
            until = min(until, started + timeout / 1000)
        events_by_key = self._selector.select(max(0.0, until - started))
        self._driven_at = time.monotonic()
        waited = self._driven_at - started
        for key, events in events_by_key:
            ready = 0
            if events & selectors.EVENT_READ:
                ready |= pycurl.CSELECT_IN
            if events & selectors.EVENT_WRITE:
                ready |= pycurl.CSELECT_OUT
            self._multi.socket_action(key.fd, ready)
        if self._multi.timeout() == 0:
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
        had_died = False
        if answer.status is not None:
            self._remember_answer(exchange)
        elif error_number == pycurl.E_OPERATION_TIMEDOUT and answer.request_written:
            had_died = self._hang_up_if_dead(exchange)
        self._multi.remove_handle(curl)
        self._leave_host(exchange, has_failed=answer.status is None and not had_died)
        return self._retire(exchange), answer

    def _remember_answer(self, exchange: Exchange) -> None:
        now = time.monotonic()
        exchange.host.answered(now, multiplexes=exchange.came_over_http2())
        connection = exchange.curl.getinfo(pycurl.CONN_ID)
        self._answered_at.pop(connection, None)
        self._answered_at[connection] = now
        if len(self._answered_at) > _REMEMBERED_CONNECTIONS:
            del self._answered_at[next(iter(self._answered_at))]

    def _hang_up_if_dead(self, exchange: Exchange) -> bool:
        """Break a connection that has answered nothing since a request that timed out on it.

        libcurl gives up only the one stream, and would put every further request on the same dead
        connection until TCP notices, which takes a quarter of an hour. Returns whether it had
        answered before: then it has died in silence, and the host may well answer on another.
        """
        connection = exchange.curl.getinfo(pycurl.CONN_ID)
        answered_at = self._answered_at.get(connection)
        if answered_at is not None and answered_at >= exchange.sent_at:
            return False
        descriptor = exchange.curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor < 0:
            return False
        borrowed = socket.socket(fileno=descriptor)
        try:
            borrowed.shutdown(socket.SHUT_RDWR)  # libcurl sees its end and closes it
        except OSError:
            pass  # it has ended meanwhile
        finally:
            borrowed.detach()
        return answered_at is not None

    def _watch(self, what: int, descriptor: int, _multi: object, _assigned: object) -> None:
        watched = descriptor in self._selector.get_map()
        if what == pycurl.POLL_REMOVE:
            if watched:
                self._selector.unregister(descriptor)
        elif watched:
            self._selector.modify(descriptor, _INTERESTS[what])
        else:
            self._selector.register(descriptor, _INTERESTS[what])


def _milliseconds(duration: timedelta) -> int:
    return max(1, math.ceil(duration / timedelta(milliseconds=1)))

"""What each host takes at once, and which requests wait until it takes them."""

import math
from collections import deque
from datetime import timedelta
from typing import Generic, TypeVar

PRIMED_FOR = timedelta(seconds=10)
"""For so long after a host's last answer a connection is taken to be open, and known."""

_PRIMED_SECONDS = PRIMED_FOR.total_seconds()  # asked for every request
_REMEMBERED_HOSTS = 1024
_AFTER_SCHEME = len("https://")

RequestT = TypeVar("RequestT")


class Host(Generic[RequestT]):
    """One host's requests: how many are on their way, and which wait in `queue`.

    Over HTTP/2 it says in its SETTINGS how many it takes at once, and until they have come libcurl
    takes it to be a hundred. So a host that has not answered lately gets one request, and no more
    before its answer. Over HTTP/1.1 it gets one for each of its `connections`: libcurl would take
    more, but serves those that came last before those that wait, which then time out. All times
    are seconds of one monotonic clock. `multiplexes` says whether HTTP/2 may come of it.
    """

    def __init__(self, connections: int, *, multiplexes: bool) -> None:
        self.in_flight = 0
        self.queue: deque[RequestT] = deque()
        self.multiplexes = multiplexes
        self._connections = connections
        self._answered_at = -math.inf

    def takes_more(self, now: float) -> bool:
        """Whether the next request may go."""
        if self.multiplexes:
            return not self.in_flight or self.is_known(now)
        return self.in_flight < self._connections

    def is_known(self, now: float) -> bool:
        """Whether it has answered lately."""
        return now - self._answered_at < _PRIMED_SECONDS

    def answered(self, now: float, *, multiplexes: bool) -> None:
        """An answer has come from it, over HTTP/2 if it `multiplexes`."""
        self._answered_at = now
        self.multiplexes = multiplexes


class Hosts(Generic[RequestT]):
    """The hosts that requests have gone to lately, with at most `connections` to each."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._by_origin: dict[str, Host[RequestT]] = {}

    def of(self, url: str) -> Host[RequestT]:
        """The host of a URL, https or http."""
        origin = url[: url.find("/", _AFTER_SCHEME)]
        host = self._by_origin.get(origin)
        if host is None:
            if len(self._by_origin) >= _REMEMBERED_HOSTS:
                self._by_origin = {
                    name: one for name, one in self._by_origin.items() if one.in_flight
                }
            # Without TLS there is nothing that could agree on HTTP/2.
            host = Host(self._connections, multiplexes=origin.startswith("https:"))
            self._by_origin[origin] = host
        return host

    def queues(self) -> list[deque[RequestT]]:
        """What waits, host by host."""
        return [host.queue for host in self._by_origin.values() if host.queue]

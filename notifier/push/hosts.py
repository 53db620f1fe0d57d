"""Which hosts have answered lately, and what waits for the first answer of one that has not."""

import math
from collections import deque
from datetime import timedelta
from typing import Generic, TypeVar

PRIMED_FOR = timedelta(seconds=10)
"""For so long after a host's last answer a connection is taken to be open, and known."""

_PRIMED_SECONDS = PRIMED_FOR.total_seconds()  # asked for every request
_REMEMBERED_HOSTS = 1024

RequestT = TypeVar("RequestT")


class Host(Generic[RequestT]):
    """One host's requests: how many are on their way, and which wait in `queue`.

    How many it takes at once stands in its SETTINGS, and until they have come libcurl takes it to
    be a hundred. So a host that has not answered lately gets one request, and no more before its
    answer. All times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.queue: deque[RequestT] = deque()
        self._answered_at = -math.inf

    def takes_more(self, now: float) -> bool:
        """Whether the next request may go."""
        return not self.in_flight or self.is_known(now)

    def is_known(self, now: float) -> bool:
        """Whether it has answered lately."""
        return now - self._answered_at < _PRIMED_SECONDS

    def answered(self, now: float) -> None:
        """An answer has come from it."""
        self._answered_at = now


class Hosts(Generic[RequestT]):
    """The hosts that requests have gone to lately."""

    def __init__(self) -> None:
        self._by_origin: dict[str, Host[RequestT]] = {}

    def of(self, url: str) -> Host[RequestT] | None:
        """The host of a URL; None where HTTP/2 cannot come of it, without TLS."""
        if not url.startswith("https:"):
            return None
        origin = url[: url.find("/", len("https://"))]
        host = self._by_origin.get(origin)
        if host is None:
            if len(self._by_origin) >= _REMEMBERED_HOSTS:
                self._by_origin = {
                    name: one for name, one in self._by_origin.items() if one.in_flight
                }
            host = self._by_origin[origin] = Host()
        return host

    def queues(self) -> list[deque[RequestT]]:
        """What waits, host by host."""
        return [host.queue for host in self._by_origin.values() if host.queue]

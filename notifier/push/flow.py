"""Room in a process, shared between push services so that a slow one does not take it all."""

from collections import defaultdict
from datetime import timedelta

SLOW = timedelta(milliseconds=500)

_SLOW_SECONDS = SLOW.total_seconds()
_WEIGHT = 1 / 8  # of the newest answer in the average


class Flow:
    """The messages to one push service that have been sent and not answered.

    All times are seconds of one monotonic clock.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._seconds: float | None = None  # that an answer takes, on average
        self._quiet_since = 0.0

    def sent(self, now: float) -> None:
        """A message is on its way."""
        if not self.in_flight:
            self._quiet_since = now
        self.in_flight += 1

    def answered(self, now: float, sent_at: float) -> None:
        """A message has been answered, or given up."""
        self.recalled()
        took = now - sent_at
        before = took if self._seconds is None else self._seconds
        self._seconds = before + (took - before) * _WEIGHT
        self._quiet_since = now

    def recalled(self) -> None:
        """A message is not on its way after all."""
        self.in_flight -= 1

    def is_slow(self, now: float) -> bool:
        """Whether answers take longer than `SLOW`, or none has come for so long."""
        if self._seconds is not None and self._seconds > _SLOW_SECONDS:
            return True
        return now - self._quiet_since > _SLOW_SECONDS

    def is_unknown(self, now: float) -> bool:
        """Whether its first answers may still come in time."""
        return self._seconds is None and not self.is_slow(now)


class Flows:
    """The flows of all push services, none of which may have more than half of the `room` if slow.

    `room` is how many messages may be on their way at once, to all of them. All times are seconds
    of one monotonic clock.
    """

    def __init__(self) -> None:
        self._flows: defaultdict[str, Flow] = defaultdict(Flow)

    def sent(self, push_service: str, now: float) -> None:
        """A message is on its way."""
        self._flows[push_service].sent(now)

    def answered(self, push_service: str, now: float, sent_at: float) -> None:
        """A message has been answered, or given up."""
        self._flows[push_service].answered(now, sent_at)

    def recalled(self, push_service: str) -> None:
        """A message is not on its way after all."""
        self._flows[push_service].recalled()

    def must_wait(self, push_service: str, room: int, now: float) -> bool:
        """Whether it has half of the room already, and may yet turn out to be fast."""
        flow = self._flows[push_service]
        return _has_half(flow, room) and flow.is_unknown(now)

    def crowds(self, push_service: str, room: int, now: float) -> bool:
        """Whether it has half of the room and is slow: the rest is for the others."""
        flow = self._flows[push_service]
        return _has_half(flow, room) and flow.is_slow(now)


def _has_half(flow: Flow, room: int) -> bool:
    return flow.in_flight >= max(1, room // 2)

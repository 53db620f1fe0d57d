"""How many messages a push service has on their way, and whether it takes its time with them."""

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

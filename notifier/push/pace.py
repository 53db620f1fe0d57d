"""How many requests are in flight at once: as many as the way to the push services takes."""

from datetime import timedelta

LEAST = 100
"""Enough to keep a process busy when answers come within a few milliseconds."""

LOOK_EVERY = timedelta(milliseconds=500)
HOLD_AFTER_FAILURE = timedelta(seconds=30)

_IDLE_SHARE = 0.15  # of the time spent waiting for answers, with as many in flight as allowed
_GAIN = 1.1  # where waiting for that share is all that there is against it, 1.17 can be had


class Pace:
    """Doubles `limit` while that makes answers come faster, up to `most`.

    Behind a long line a process mostly waits: 100 requests and 30 ms between them and their
    answers make 3,300 a second at best. More in flight means more rate there, but elsewhere only
    more that is doubtful when a process dies; so what does not pay is taken back, and not tried
    again for a while. All times are seconds of one monotonic clock.
    """

    def __init__(self, most: int, now: float) -> None:
        self.most = most
        self.limit = min(LEAST, most)
        self._before_growth: tuple[int, float] | None = None  # limit and rate
        self._hold_until = now
        self._begin(now)

    def note(self, now: float, *, waited: float, answers: int) -> None:
        """Take a poll into account: seconds waited with all in flight, and how many answers."""
        self._waited += waited
        self._answers += answers
        elapsed = now - self._since
        if elapsed < LOOK_EVERY.total_seconds():
            return
        # Much more means that nobody has polled for a while: then this says nothing.
        if elapsed < 2 * LOOK_EVERY.total_seconds():
            self._judge(now, rate=self._answers / elapsed, idle=self._waited / elapsed)
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._waited = 0.0
        self._answers = 0

    def _judge(self, now: float, *, rate: float, idle: float) -> None:
        if self._before_growth is not None:
            limit, rate_before = self._before_growth
            self._before_growth = None
            if rate < _GAIN * rate_before:
                self.limit = limit
                self._hold_until = now + HOLD_AFTER_FAILURE.total_seconds()
                return
        if idle > _IDLE_SHARE and self.limit < self.most and now >= self._hold_until:
            self._before_growth = (self.limit, rate)
            self.limit = min(2 * self.limit, self.most)

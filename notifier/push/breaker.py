"""When to leave a push service alone: what its last answers say."""

from collections import deque
from datetime import timedelta

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=1)


class Window:
    """The last answers of one push service, each good or bad.

    `is_bad` once the window is full and at least `share` of it is bad. A window that has told so
    is emptied by `clear`, so that old answers are not held against a service that is back.
    """

    def __init__(self, size: int, share: float) -> None:
        self._answers: deque[bool] = deque(maxlen=size)
        self._limit = size * share
        self._bad = 0

    def add(self, *, bad: bool) -> None:
        if len(self._answers) == self._answers.maxlen:
            self._bad -= self._answers[0]
        self._answers.append(bad)
        self._bad += bad

    @property
    def is_bad(self) -> bool:
        return len(self._answers) == self._answers.maxlen and self._bad >= self._limit

    def clear(self) -> None:
        self._answers.clear()
        self._bad = 0


def breaker_window() -> Window:
    """The window that opens a breaker: a fifth of the last 100 answers refused or unreachable."""
    return Window(100, 0.2)


def throttle_window() -> Window:
    """The window that holds a whole push service: more than 5% of the last 200 throttled."""
    return Window(200, 0.055)


def pause_before_probe(openings: int) -> timedelta:
    """How long a breaker stays open before one message may try again; doubles each time."""
    doubled: timedelta = FIRST_PAUSE * 2 ** min(max(openings - 1, 0), 10)
    return min(doubled, LONGEST_PAUSE)

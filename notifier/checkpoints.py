"""When a worker process records what it has found out: often, but not at every price."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from notifier.clock import boot_time
from notifier.ledger import Lease

RENEW_WITHIN = timedelta(seconds=9)
"""With less lease left a checkpoint renews it, though there is nothing new to record."""

LONGEST_UNSAVED = timedelta(milliseconds=500)
"""What a killed process has sent since its last checkpoint comes twice, so not for longer."""

SHARE = 30
"""A checkpoint may take one part in so many of the time."""

_ENOUGH_SENDS = 50
_LONG_ENOUGH = timedelta(milliseconds=250)
_RENEW_AGAIN_AFTER = timedelta(milliseconds=50)


def is_needed(lease: Lease) -> bool:
    """Whether a lease has news, or runs out; one that only waits for stragglers seldom does."""
    return lease.has_news or _runs_out(lease)


class Checkpoints:
    """The times of one process's checkpoints."""

    def __init__(self) -> None:
        self._last_at = boot_time()
        self._took = 0.0

    def is_due(self, leases: Sequence[Lease], *, is_retry: bool) -> bool:
        """Whether to checkpoint the leases now. `is_retry`: the last time failed."""
        since = boot_time() - self._last_at
        if is_retry:
            return since >= _LONG_ENOUGH.total_seconds()
        if any(map(_runs_out, leases)):
            return since > _RENEW_AGAIN_AFTER.total_seconds()
        if since >= LONGEST_UNSAVED.total_seconds():
            return True
        if since < SHARE * self._took:
            return False
        # Without news, a checkpoint still asks whether somebody has stopped the alert.
        unsaved = sum(lease.unsaved for lease in leases)
        return unsaved >= _ENOUGH_SENDS or since >= _LONG_ENOUGH.total_seconds()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note when a checkpoint is made and, unless it fails, how long it takes."""
        began = self._last_at = boot_time()
        yield
        self._last_at = boot_time()
        self._took = self._last_at - began


def _runs_out(lease: Lease) -> bool:
    return lease.deadline - boot_time() < RENEW_WITHIN.total_seconds()

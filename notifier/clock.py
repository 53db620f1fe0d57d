"""The clock that deadlines are kept by: it is never set, and runs on while the machine sleeps."""

import time

# macOS's monotonic clock halts in sleep, but there is no better one there.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Seconds since some moment before this machine's start."""
    return time.clock_gettime(_CLOCK)

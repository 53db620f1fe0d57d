"""What every subject written in Python shares: its order, and the report on its own work."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Order = dict[str, Any]
Subscriptions = list[dict[str, Any]]

CACHED = "cached"
"""The form in which a subject signs the VAPID token only once."""

WARM_UP = 0.5
"""This share of a turn's messages is sent before measuring: imports, connections, caches."""


def main(prepare: Callable[[Order, str], Callable[[Subscriptions], list[int]]]) -> None:
    """Run a subject: `python -m … ORDER [FORM]`.

    Each line of its input is a turn, the number of messages to measure; it answers with a report
    in a line of JSON. `prepare` gets the order and the form, and gives back what sends to
    subscriptions and answers their statuses.
    """
    path, *form = sys.argv[1:]
    order = json.loads(Path(path).read_text())
    send = prepare(order, "".join(form))
    readers = order["subscriptions"]
    for line in sys.stdin:
        count = int(line)
        send(_some(readers, max(1, int(count * WARM_UP))))
        cpu, wall = cpu_seconds(), time.monotonic()
        statuses = send(_some(readers, count))
        report = {
            "cpu_s": cpu_seconds() - cpu,
            "wall_s": time.monotonic() - wall,
            "statuses": {str(status): statuses.count(status) for status in set(statuses)},
        }
        print(json.dumps(report), flush=True)  # it is what the bench reads


def cpu_seconds() -> float:
    """User and system time of this process, with all of its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _some(readers: Subscriptions, count: int) -> Subscriptions:
    return [readers[number % len(readers)] for number in range(count)]

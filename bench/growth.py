"""How cost and time grow with the number of subscribers, and when the first push leaves."""

import math
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from tests import postgresql

from bench import service, sink
from bench.compare import DURABLE, POSTGRESQL, SQLITE, machine
from bench.report import load, where
from bench.subjects import UnexpectedAnswerError

DATABASES = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK_SIZES = (200, 1_000)
PUBLISHES = 20
FIRST_PUSH_WITHIN = timedelta(milliseconds=250)
_GIVE_UP_AFTER = timedelta(seconds=30)


def run(console: Console, *, quick: bool, on: str | None) -> dict[str, Any]:
    """Measure on both databases, or `on` one of DATABASES; answers what goes into growth.json.

    The figures of the other one stay as they were.
    """
    sizes = QUICK_SIZES if quick else SIZES
    publishes = 3 if quick else PUBLISHES
    figures: dict[str, Any] = load("growth") if on and not quick else {}
    for name in [DATABASES[on]] if on else DATABASES.values():
        measured: dict[str, Any] = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "publishes": publishes,
        }
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="notifier-")))
            front = stack.enter_context(sink.running(log_times=True))
            url = pid = None
            if name == POSTGRESQL:
                cluster = stack.enter_context(postgresql.cluster(**DURABLE))
                url, pid = stack.enter_context(cluster.database()), cluster.pid
            running = stack.enter_context(
                service.running(folder, front, database_url=url, database_pid=pid)
            )
            measured["sizes"] = _grow(console, name, running, front, sizes, publishes)
        figures[name] = measured
    return figures


def _grow(
    console: Console,
    name: str,
    running: service.Service,
    front: sink.Sink,
    sizes: tuple[int, ...],
    publishes: int,
) -> list[dict[str, Any]]:
    rows = []
    subscribed = 0
    for size in sizes:
        running.subscribe(front.origin, size - subscribed)
        subscribed = size
        if not rows:
            running.round()  # to warm up
        one = running.round()
        if one.counts["accepted"] != size:
            raise UnexpectedAnswerError(f"{name}: {one.counts}")
        rows.append(
            {
                "subscribers": size,
                "cpu_s_per_1000": round(one.cpu_s / size * 1000, 4),
                "seconds": round(one.wall_s, 2),
                "per_s": round(size / one.wall_s),
                "planning_s": round(one.planning_s, 2),
                "first_push_ms": [round(ms) for ms in _first_pushes(running, front, publishes)],
                "worker_peak_mb": round(running.worker_peak_mb(), 1),
            }
        )
        console.print(f"{name}, {size:,} subscribers: {rows[-1]}")
    return rows


def _first_pushes(running: service.Service, front: sink.Sink, publishes: int) -> list[float]:
    """Milliseconds from the publishing request's answer until the sink had the first push.

    Each alert is stopped then, and has ended before the next is published.
    """
    found = []
    for _ in range(publishes):
        seen = front.times_file.stat().st_size
        alert_id = running.publish()["id"]
        answered_at = time.time()
        found.append((_first_time(front, seen) - answered_at) * 1000)
        running.stop(alert_id)
    return found


def _first_time(front: sink.Sink, offset: int) -> float:
    """The time at which the sink wrote the first line behind `offset`."""
    end = time.monotonic() + _GIVE_UP_AFTER.total_seconds()
    while time.monotonic() < end:
        with front.times_file.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        if line.endswith(b"\n"):
            return float(line)
        time.sleep(0.005)
    raise UnexpectedAnswerError(f"no push came within {_GIVE_UP_AFTER}")


def percentile_95(values: list[int]) -> int:
    """The smallest value that 95% of the values do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def table(figures: dict[str, Any]) -> str:
    """The growth's tables in Markdown."""
    lines = [
        (
            "One worker process. First push: from the answer to the publishing request until the "
            "push service has the first message, warm workers; to reach: 95% within "
            f"{FIRST_PUSH_WITHIN / timedelta(milliseconds=1):.0f} ms."
        ),
    ]
    for name in DATABASES.values():
        if name not in figures:
            continue
        measured = figures[name]
        lines += [
            "",
            f"{name[0].upper()}{name[1:]}, {measured['publishes']} publishes. {where(measured)}:",
            "",
            (
                "| subscribers | CPU s per 1,000 | all sent after | a second | planned after "
                "| first push: median | 95% | peak memory of a worker process |"
            ),
            "|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for row in measured["sizes"]:
            first = row["first_push_ms"]
            lines.append(
                f"| {row['subscribers']:,} | {row['cpu_s_per_1000']:.3f} | {row['seconds']:.1f} s "
                f"| {row['per_s']:,} | {row['planning_s']:.1f} s | {median(first):.0f} ms "
                f"| {percentile_95(first)} ms | {row['worker_peak_mb']:.0f} MB |"
            )
    return "\n".join(lines)

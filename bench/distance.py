"""The rate of our sender when the push service is far away."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from bench import sink
from bench.compare import machine
from bench.readers import make_readers, write_order
from bench.report import where
from bench.subjects import FOLDER, our_sender

ROUND_TRIPS_MS = (0, 30, 100)
ROUNDS = 3


def run(console: Console, *, quick: bool) -> dict[str, Any]:
    """Measure at every distance in turn, several times; answers what goes into distance.json."""
    subject = our_sender(40_000, quick=500)
    rates: dict[int, list[float]] = {}
    cpu: dict[int, list[float]] = {}
    with sink.running() as front, tempfile.TemporaryDirectory() as name:
        order, vapid_key = Path(name) / "order.json", Path(name) / "vapid.pem"
        for number in range(1 if quick else ROUNDS):
            for round_trip in ROUND_TRIPS_MS:
                with _far_away(front, round_trip) as origin:
                    readers = make_readers(origin, 2_000)
                    write_order(order, readers, front, vapid_key)
                    with subject.running(order, front, quick=quick) as take_turn:
                        cost = take_turn()
                rates.setdefault(round_trip, []).append(cost.per_s)
                cpu.setdefault(round_trip, []).append(cost.cpu_s_per_1000)
                console.print(f"round {number + 1}, {round_trip} ms: {cost.per_s:,.0f} a second")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "messages": subject.quick if quick else subject.messages,
        "per_s": {str(ms): [round(rate) for rate in found] for ms, found in rates.items()},
        "cpu_s_per_1000": {str(ms): [round(one, 4) for one in found] for ms, found in cpu.items()},
    }


@contextmanager
def _far_away(front: sink.Sink, round_trip_ms: int) -> Iterator[str]:
    """The sink's origin, seen from a distance."""
    command = [sys.executable, "-m", "bench.delay", str(front.port), str(round_trip_ms)]
    with subprocess.Popen(command, cwd=FOLDER.parent, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            assert proxy.stdout is not None
            yield f"https://127.0.0.1:{int(proxy.stdout.readline())}"
        finally:
            proxy.terminate()


def table(figures: dict[str, Any]) -> str:
    """The rates in Markdown."""
    lines = [
        (
            f"{where(figures)}: "
            f"one process, {figures['messages']:,} messages, through a delaying TCP proxy "
            "(`bench/delay.py`) that takes CPU time of the same machine, also at 0 ms."
        ),
        "",
        "| round trip | messages a second: median | min | max | CPU s per 1,000 |",
        "|--:|--:|--:|--:|--:|",
    ]
    for ms, rates in figures["per_s"].items():
        lines.append(
            f"| {ms} ms | {median(rates):,.0f} | {min(rates):,} | {max(rates):,} "
            f"| {median(figures['cpu_s_per_1000'][ms]):.3f} |"
        )
    return "\n".join(lines)

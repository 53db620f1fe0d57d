"""The comparison: all take turns several times a round, so that what disturbs one disturbs all."""

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import Progress
from tests import postgresql

from bench import encryption, service, sink
from bench.readers import make_readers, write_order
from bench.subjects import (
    ASYNC,
    NODE,
    PLAIN_LOOP,
    SENDER,
    SESSION_LOOP,
    Cost,
    UnexpectedAnswerError,
    install_node_peer,
    subjects,
)
from bench.verify import verify

SQLITE, POSTGRESQL = "the whole service, SQLite", "the whole service, PostgreSQL"
OURS_ALONE, C_ALONE = "encryption: ours", "encryption: C on libcrypto"
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


@dataclass(frozen=True)
class Target:
    """`numerator` / `denominator` within a round must be at least, or at most, `limit`."""

    name: str
    numerator: str
    denominator: str
    limit: float
    at_least: bool = True

    def is_met_by(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit


TARGETS = (
    Target("our sender against webpush() in a loop", PLAIN_LOOP, SENDER, 18),
    Target("our sender against webpush() with a session", SESSION_LOOP, SENDER, 8),
    Target("our sender against webpush_async", ASYNC, SENDER, 3.5),
    Target("our sender against node web-push", NODE, SENDER, 6),
    Target("our encryption against the C program", C_ALONE, OURS_ALONE, 0.7),
    Target("the whole service on SQLite against our sender", SQLITE, SENDER, 1.3, at_least=False),
    Target(
        "the whole service on PostgreSQL against our sender",
        POSTGRESQL,
        SENDER,
        1.3,
        at_least=False,
    ),
)
MOST_WORKER_MB = 120


@dataclass(frozen=True)
class Size:
    """How much is measured: in full, or only whether everything works.

    A round has `turns` before, between and after the two services; `encryptions` are a turn's.
    """

    rounds: int
    turns: int
    subscribers: int
    encryptions: int
    verified: int


FULL = Size(rounds=7, turns=3, subscribers=100_000, encryptions=3_500, verified=2_000)
QUICK = Size(rounds=1, turns=1, subscribers=1_000, encryptions=200, verified=300)


@dataclass
class Figures:
    """CPU seconds per 1,000 messages of every round, by name, and what was seen beside them."""

    cpu: dict[str, list[float]] = field(default_factory=dict)
    per_s: dict[str, list[float]] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)  # of the service's worker processes
    celery_share: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, cost: Cost) -> None:
        """Take in what a round took."""
        self.cpu.setdefault(name, []).append(cost.cpu_s_per_1000)
        self.per_s.setdefault(name, []).append(cost.per_s)

    def ratios(self, target: Target) -> list[float]:
        pairs = zip(self.cpu[target.numerator], self.cpu[target.denominator], strict=True)
        return [numerator / denominator for numerator, denominator in pairs]


def run(console: Console, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    """Measure everything; answers what goes into latest.json. Raises UnexpectedAnswerError."""
    size = QUICK if quick else FULL
    rounds = rounds or size.rounds
    install_node_peer()
    c_program = encryption.build()
    seen = verify(size.verified)
    console.print(f"verified: {seen['messages']} messages decrypted, no key id or salt twice")
    figures = Figures()
    with _everything(size) as (front, order, services), Progress(console=console) as bar:
        task = bar.add_task("measuring", total=rounds)
        for number in range(rounds):
            with ExitStack() as stack:
                takers: dict[str, Callable[[], Cost]] = {
                    subject.name: stack.enter_context(subject.running(order, front, quick=quick))
                    for subject in subjects()
                }
                takers[OURS_ALONE] = partial(encryption.measure_ours, size.encryptions)
                takers[C_ALONE] = partial(encryption.measure_c, c_program, size.encryptions)
                _measure_round(figures, number, size, takers, services)
            bar.advance(task)
    library = encryption.library_of(c_program)
    speed = encryption.openssl_speed(seconds=1 if quick else 3)
    return _report(figures, rounds, size, seen, library, speed)


def _measure_round(
    figures: Figures,
    number: int,
    size: Size,
    takers: Mapping[str, Callable[[], Cost]],
    services: Mapping[str, service.Service],
) -> None:
    """Let all take their turns, and the services theirs in between."""
    costs = dict.fromkeys(takers, Cost())
    names = list(takers)
    first = number
    for between in (*services, None):
        for _ in range(size.turns):
            first = (first + 1) % len(names)  # nobody always goes first
            for name in names[first:] + names[:first]:
                costs[name] += takers[name]()
        if between is not None:
            costs[between] = _measure_service(figures, between, services[between], size.subscribers)
    for name, cost in costs.items():
        figures.add(name, cost)


def _measure_service(
    figures: Figures, name: str, running: service.Service, subscribers: int
) -> Cost:
    one = running.round()
    if one.counts["accepted"] != subscribers:
        raise UnexpectedAnswerError(f"{name}: {one.counts}")
    figures.peak_mb[name] = running.worker_peak_mb()
    figures.celery_share.setdefault(name, []).append(one.celery_cpu_s / one.cpu_s)
    return Cost(subscribers, one.cpu_s, one.wall_s)


@contextmanager
def _everything(size: Size) -> Iterator[tuple[sink.Sink, Path, dict[str, service.Service]]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="notifier-bench-")))
        front = stack.enter_context(sink.running())
        order = folder / "order.json"
        write_order(order, make_readers(front.origin, 5_000), front, folder / "vapid.pem")
        cluster = stack.enter_context(postgresql.cluster(**DURABLE))
        url = stack.enter_context(cluster.database())
        services = {
            SQLITE: stack.enter_context(service.running(folder / "sqlite", front)),
            POSTGRESQL: stack.enter_context(
                service.running(
                    folder / "postgresql", front, database_url=url, database_pid=cluster.pid
                )
            ),
        }
        for running in services.values():
            running.subscribe(front.origin, size.subscribers)
            running.round()  # to warm up: imports, connections, caches
        yield front, order, services


def _report(
    figures: Figures,
    rounds: int,
    size: Size,
    seen: dict[str, int],
    library: str,
    speed: float | None,
) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": rounds,
        "subscribers": size.subscribers,
        "verified": seen,
        "libcrypto_of_the_c_program": library,
        "openssl_ecdhp256_per_s": speed,
        "cpu_s_per_1000": {
            name: _spread(values) | {"rounds": [round(value, 4) for value in values]}
            for name, values in figures.cpu.items()
        },
        "per_s": {name: _spread(values) for name, values in figures.per_s.items()},
        "peak_mb": {name: round(value, 1) for name, value in figures.peak_mb.items()},
        "celery_share": {name: _spread(values) for name, values in figures.celery_share.items()},
        "targets": [_judged(target, figures.ratios(target)) for target in TARGETS],
    }


def _judged(target: Target, ratios: list[float]) -> dict[str, Any]:
    worst = min(ratios) if target.at_least else max(ratios)
    return {
        "name": target.name,
        "limit": target.limit,
        "at_least": target.at_least,
        "worst": round(worst, 3),
        "median": round(median(ratios), 3),
        "met": target.is_met_by(worst),
    }


def machine() -> dict[str, Any]:
    """What was measured on, as far as it says so itself."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }

"""Many rounds of many drills, on several stages side by side: half of the time is waiting."""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import postgresql
from drills import every
from drills.drill import POSTGRESQL, Drill, Result, run_round
from drills.stage import Stage

AT_ONCE = 3
"""Rounds side by side: half of a round's time is waiting, and more would wait for the processor."""

_starting = threading.Lock()  # one at a time: Alembic has one context for the whole process

Turn = tuple[Drill, int]
Take = Callable[[deque[Turn]], Turn]
Told = Callable[[Drill, str, int, Result], None]


def run(
    drills: Iterable[Drill],
    rounds: int,
    readers: int,
    seed: str,
    on_result: Told,
    *,
    patience: float = 1,
    at_once: int = AT_ONCE,
) -> dict[str, list[Result]]:
    """Run the rounds of each drill, by turns on the databases that it is about.

    Answers the results by the drills' numbers. Raises NotReady, and NotInstalledError of nginx or
    postgresql.
    """
    drills = list(drills)
    work: dict[str, deque[Turn]] = {}
    for drill in _those_alone_between(drills):
        for number in range(rounds):
            # Neighbours start on different databases, and each where it would among all drills,
            # so that a failure can be repeated alone.
            turn = number + every.DRILLS.index(drill)
            database = drill.databases[turn % len(drill.databases)]
            work.setdefault(database, deque()).append((drill, number))
    results: dict[str, list[Result]] = {drill.number: [] for drill in drills}
    telling = threading.Lock()
    places = _Places(at_once)

    with ExitStack() as exits:

        def new_stage(database: str) -> Stage:
            with _starting:
                stage = exits.enter_context(_stage(database))
            stage.enlist(readers)
            return stage

        def run_on(database: str, take: Take, stage: Stage) -> None:
            for drill, number in _taken_from(work[database], take):
                with places.taken(all_of_them=drill.alone):
                    result = run_round(drill, stage, readers, seed, number, patience)
                with telling:
                    results[drill.number].append(result)
                    on_result(drill, database, number, result)
                if result.problems:
                    # It can have left anything behind: a dead worker, a database that is down.
                    with suppress(Exception):
                        stage.close()
                    stage = new_stage(database)

        # Two stages of each database begin at the two ends, as drills that only wait are
        # neighbours; all are up before anything is measured.
        stages = [
            (name, take, new_stage(name))
            for name in sorted(work)
            for take in (deque.popleft, deque.pop)
        ]
        with ThreadPoolExecutor(len(stages) or 1) as pool:
            for done in [pool.submit(run_on, *stage) for stage in stages]:
                done.result()
    return results


def _those_alone_between(drills: list[Drill]) -> list[Drill]:
    """Drills that need the machine to themselves come last, as stages begin at the two ends."""
    others = [drill for drill in drills if not drill.alone]
    half = len(others) // 2
    return [*others[:half], *(drill for drill in drills if drill.alone), *others[half:]]


class _Places:
    """For rounds that run side by side."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.Semaphore(count)
        self._taking_all = threading.Lock()

    @contextmanager
    def taken(self, *, all_of_them: bool) -> Iterator[None]:
        """Wait for a place, or for all of them, and hold it until the block ends."""
        count = self._count if all_of_them else 1
        with self._taking_all if all_of_them else nullcontext():  # or two would have some each
            for _ in range(count):
                self._free.acquire()
        try:
            yield
        finally:
            self._free.release(count)


def _taken_from(ahead: deque[Turn], take: Take) -> Iterator[Turn]:
    """What is ahead, one after the other, for several threads."""
    with suppress(IndexError):
        while True:
            yield take(ahead)


@contextmanager
def _stage(database: str) -> Iterator[Stage]:
    """A stage in a temporary folder, with a PostgreSQL server of its own if it needs one."""
    with ExitStack() as exits:
        cluster = None
        if database == POSTGRESQL:
            cluster = exits.enter_context(postgresql.cluster())
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="drills-"))
        # nginx's worker is another user, who must be able to get at its files.
        Path(folder).chmod(0o755)
        yield exits.enter_context(Stage(database, Path(folder) / "stage", cluster))

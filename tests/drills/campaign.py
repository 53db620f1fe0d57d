"""Many rounds of many drills, on several stages side by side, as they wait for much of the time."""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import postgresql
from drills import every
from drills.drill import POSTGRESQL, SQLITE, Drill, Result, run_round
from drills.stage import Stage

AT_ONCE = 4
"""Rounds side by side: one on each stage, two of each database."""

_TURNS = (SQLITE, POSTGRESQL) * 4 + (SQLITE,)
"""Databases by turns; SQLite has one more, as it has fewer drills of its own."""

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
    # One after the other, or those that bear few rounds beside them would keep others waiting.
    passes = [
        _turns([drill for drill in drills if drill.beside is None], rounds),
        _turns([drill for drill in drills if drill.beside is not None], rounds),
    ]
    results: dict[str, list[Result]] = {drill.number: [] for drill in drills}
    telling = threading.Lock()
    places = _Places(at_once)

    with ExitStack() as exits:

        def new_stage(database: str) -> Stage:
            with _starting:
                stage = exits.enter_context(_stage(database))
            stage.enlist(readers)
            return stage

        def run_on(lane: _Lane, ahead: deque[Turn]) -> None:
            for drill, number in _taken_from(ahead, lane.take):
                with places.taken(drill.beside):
                    result = run_round(drill, lane.stage, readers, seed, number, patience)
                with telling:
                    results[drill.number].append(result)
                    on_result(drill, lane.database, number, result)
                if result.problems:
                    # It can have left anything behind: a dead worker, a database that is down.
                    with suppress(Exception):
                        lane.stage.close()
                    lane.stage = new_stage(lane.database)

        # Two stages of each database begin at the two ends, as drills that only wait are
        # neighbours; all are up before anything is measured.
        lanes = [
            _Lane(database, take, new_stage(database))
            for database in sorted(set().union(*passes))
            for take in (deque.popleft, deque.pop)
        ]
        with ThreadPoolExecutor(len(lanes) or 1) as pool:
            try:
                for turns in passes:
                    busy = [
                        pool.submit(run_on, lane, turns[lane.database])
                        for lane in lanes
                        if lane.database in turns
                    ]
                    for done in busy:
                        done.result()
            except BaseException:  # above all Ctrl-C: no other round begins, and all is cleared up
                for ahead in chain.from_iterable(turns.values() for turns in passes):
                    ahead.clear()
                raise
    return results


@dataclass
class _Lane:
    """Where rounds on a database run one after the other; `take` says from which end of them."""

    database: str
    take: Take
    stage: Stage


def _turns(drills: Iterable[Drill], rounds: int) -> dict[str, deque[Turn]]:
    """The rounds to run, by database."""
    turns: dict[str, deque[Turn]] = {}
    for drill in drills:
        for number in range(rounds):
            turns.setdefault(_database_of(drill, number), deque()).append((drill, number))
    return turns


def _database_of(drill: Drill, number: int) -> str:
    """The database for a round: the same whichever other drills run, to repeat a failure alone."""
    if len(drill.databases) == 1:
        return drill.databases[0]
    return _TURNS[(number + every.DRILLS.index(drill)) % len(_TURNS)]


class _Places:
    """For rounds that run side by side."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: list[int] = []  # for each round that runs, how many may, itself among them
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, beside: int | None) -> Iterator[None]:
        """Wait until no more than `beside` others run, and hold the place until the block ends."""
        most = self._count if beside is None else min(self._count, beside + 1)
        with self._changed:
            self._changed.wait_for(lambda: len(self._taken) < min([most, *self._taken]))
            self._taken.append(most)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(most)
                self._changed.notify_all()


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

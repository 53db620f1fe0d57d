"""Many rounds of many drills, on both databases side by side: half of the time is waiting."""

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import postgresql
from drills import every
from drills.drill import POSTGRESQL, Drill, Result, run_round
from drills.stage import Stage

Told = Callable[[Drill, str, int, Result], None]


def run(
    drills: Iterable[Drill],
    rounds: int,
    readers: int,
    seed: str,
    on_result: Told,
    *,
    patience: float = 1,
) -> dict[str, list[Result]]:
    """Run the rounds of each drill, by turns on the databases that it is about.

    Answers the results by the drills' numbers. Raises NotReady, and NotInstalledError of nginx or
    postgresql.
    """
    drills = list(drills)
    work: dict[str, list[tuple[Drill, int]]] = {}
    for drill in drills:
        for number in range(rounds):
            # Neighbours start on different databases, and each where it would among all drills,
            # so that a failure can be repeated alone.
            turn = number + every.DRILLS.index(drill)
            database = drill.databases[turn % len(drill.databases)]
            work.setdefault(database, []).append((drill, number))
    results: dict[str, list[Result]] = {drill.number: [] for drill in drills}
    telling = threading.Lock()

    def run_on(database: str, stage: Stage) -> None:
        for drill, number in work[database]:
            result = run_round(drill, stage, readers, seed, number, patience)
            with telling:
                results[drill.number].append(result)
                on_result(drill, database, number, result)

    with ExitStack() as exits:
        stages = {database: exits.enter_context(_stage(database)) for database in sorted(work)}
        for stage in stages.values():
            stage.enlist(readers)
        pool = exits.enter_context(ThreadPoolExecutor(len(stages) or 1))
        for done in [pool.submit(run_on, *item) for item in stages.items()]:
            done.result()
    return results


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

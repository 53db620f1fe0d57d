"""`make drills`: run the drills for many rounds and print what they came to."""

import secrets
import signal
import sys
import time
from datetime import timedelta

import click
from drills import campaign, every
from drills.drill import Drill, Result
from drills.stage import CONCURRENCY, PROCESSES
from rich.console import Console
from rich.table import Table


@click.command()
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1))
@click.option("--drills", "chosen", default="", help="Numbers, comma-separated. Default: all.")
@click.option("--readers", default=10_000, show_default=True, type=click.IntRange(1_000))
@click.option(
    "--at-once",
    default=campaign.AT_ONCE,
    show_default=True,
    type=click.IntRange(1),
    help="Rounds side by side.",
)
@click.option("--seed", default=None, help="Repeats the moments of an earlier run.")
def main(rounds: int, chosen: str, readers: int, at_once: int, seed: str | None) -> None:
    """Break everything around the delivery engine, and see that nothing is lost."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    seed = seed or secrets.token_hex(4)
    console = Console(width=150)
    console.print(
        f"{rounds} rounds of each drill, {readers:,} readers, {PROCESSES} worker processes, "
        f"concurrency {CONCURRENCY}, seed {seed}"
    )
    started = time.monotonic()
    numbers = [number.strip() for number in chosen.split(",") if number.strip()]
    drills = [drill for drill in every.DRILLS if not numbers or drill.number in numbers]
    results = campaign.run(
        drills, rounds, readers, seed, lambda *result: _tell(console, *result), at_once=at_once
    )
    outcomes = [(drill, results[drill.number]) for drill in drills]
    console.print(_table(outcomes))
    took = timedelta(seconds=round(time.monotonic() - started))
    console.print(f"Took {took}.")
    failed = any(result.problems for rounds in results.values() for result in rounds)
    sys.exit(1 if failed else 0)


def _tell(console: Console, drill: Drill, database: str, number: int, result: Result) -> None:
    resumed = "" if result.resumed is None else f", resumed in {_seconds(result.resumed)}"
    problems = "".join(f"\n    {problem}" for problem in [*result.problems, *result.logs])
    console.print(
        f"{drill.number:>3} round {number + 1} on {database}: "
        f"{'FAILED' if result.problems else 'ok'}, {result.lost} lost, {result.duplicates} "
        f"duplicates of {result.bound} at most{resumed}; {_seconds(result.took)} in all "
        f"({', '.join(result.notes)}){problems}",
        markup=False,
        highlight=False,
    )


def _table(results: list[tuple[Drill, list[Result]]]) -> Table:
    table = Table(
        "",
        "drill",
        "database",
        "rounds",
        "lost",
        "duplicates",
        "bound B",
        "resumed within",
        "result",
    )
    for drill, outcomes in results:
        resumed = [result.resumed for result in outcomes if result.resumed is not None]
        limits = [result.limit for result in outcomes if result.limit is not None]
        failed = sum(bool(result.problems) for result in outcomes)
        table.add_row(
            drill.number,
            drill.title,
            ", ".join(drill.databases),
            str(len(outcomes)),
            str(sum(result.lost for result in outcomes)),
            str(max(result.duplicates for result in outcomes)),
            str(max(result.bound for result in outcomes)),
            _resumed(resumed, limits),
            f"{failed} failed" if failed else "passed",
        )
    return table


def _resumed(took: list[timedelta], limits: list[timedelta]) -> str:
    if not took:
        return ""
    return _seconds(max(took)) + (f" of {_seconds(max(limits))}" if limits else "")


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.1f} s"


if __name__ == "__main__":
    main()

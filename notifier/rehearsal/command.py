"""`notifier rehearse`: a breaking article through the real processes, to simulated readers."""

import signal
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import click
import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from notifier.db import Database
from notifier.errors import NotifierError, NotReady
from notifier.rehearsal.deployment import Deployment, LocalPushService, rehearsal_settings
from notifier.rehearsal.rehearsal import Fault, Reckoning, Rehearsal
from notifier.run import PROCFILE

SHARE = click.FloatRange(0, 1)
WITHIN = timedelta(minutes=30)


@click.command()
@click.option(
    "--readers",
    type=click.IntRange(1, 10_000_000),
    default=10_000,
    show_default=True,
    help="How many simulated readers.",
)
@click.option("--gone", type=SHARE, default=0, help="Share of endpoints that answer 410, as 0.1.")
@click.option("--missing", type=SHARE, default=0, help="Share of endpoints that answer 404.")
@click.option(
    "--throttled", type=SHARE, default=0, help="Share of endpoints that answer 429 at first."
)
@click.option(
    "--unavailable", type=SHARE, default=0, help="Share of endpoints that answer 503 at first."
)
@click.option(
    "--kill-worker",
    type=SHARE,
    default=None,
    help="Kill the worker (SIGKILL) when this share has been accepted, and start it again.",
)
@click.option("--database-url", default=None, help="An empty PostgreSQL database. Default: SQLite.")
@click.option(
    "--processes", type=click.IntRange(1, 64), default=2, show_default=True,
    help="Worker processes.",
)  # fmt: skip
def rehearse(
    readers: int,
    gone: float,
    missing: float,
    throttled: float,
    unavailable: float,
    kill_worker: float | None,
    database_url: str | None,
    processes: int,
) -> None:
    """Rehearse breaking news without any real reader.

    Starts a local push service and the real web app, worker, clock and broker in a temporary
    folder, publishes a breaking article, and reckons up what arrived. Needs no internet.
    """
    shares = {410: gone, 404: missing, 429: throttled, 503: unavailable}
    faults = [Fault(status, share) for status, share in shares.items() if share]
    if sum(fault.share for fault in faults) > 1:
        raise click.UsageError("The shares add up to more than 1.")
    console = Console()
    for number in (signal.SIGTERM, signal.SIGHUP):  # what has been started is to end, too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if database_url is not None:
            _require_empty(database_url)
        with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
            console.print("Starting the push service, web app, worker, clock and broker …")
            with LocalPushService(Path(folder)) as push:
                settings = rehearsal_settings(
                    Path(folder),
                    (push.origin,),
                    database_url=database_url,
                    worker_processes=processes,
                )
                with Deployment(settings, PROCFILE.resolve()) as deployment:
                    rehearsal = Rehearsal(settings, push.control)
                    reckoning = _rehearse(
                        console, rehearsal, deployment, readers, faults, kill_worker
                    )
    except (NotifierError, requests.RequestException) as error:
        console.print(f"[red]The rehearsal failed:[/red] {error}")
        sys.exit(1)
    _print(console, reckoning, killed=kill_worker is not None)
    # A killed worker may have sent what it could not record any more; nothing may be lost.
    wrong = [
        sentence
        for sentence in reckoning.failures
        if kill_worker is None or "duplicates" not in sentence
    ]
    for sentence in wrong:
        console.print(f"[red]{sentence}[/red]")
    sys.exit(1 if wrong else 0)


def _require_empty(database_url: str) -> None:
    """Raises NotReady: a rehearsal has readers and sections of its own."""
    db = Database(database_url)
    try:
        with db.read() as session:
            tables = inspect(session.connection()).get_table_names()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise NotReady(f"The database cannot be used: {reason}.") from None
    finally:
        db.close()
    if tables:
        raise NotReady("The database is not empty. Make one for the rehearsal, and drop it then.")


def _rehearse(
    console: Console,
    rehearsal: Rehearsal,
    deployment: Deployment,
    readers: int,
    faults: list[Fault],
    kill_worker: float | None,
) -> Reckoning:
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    try:
        with Progress(*columns, console=console) as progress:
            enlisting = progress.add_task("readers opt in", total=readers)
            rehearsal.enlist(readers, faults, lambda count: progress.advance(enlisting, count))
            sending = progress.add_task("alert settled", total=readers)
            to_kill = None if kill_worker is None else kill_worker * readers

            def show(counts: dict[str, int]) -> None:
                nonlocal to_kill
                progress.update(sending, completed=counts["audience"] - counts["waiting"])
                if to_kill is not None and counts["accepted"] >= to_kill:
                    to_kill = None
                    deployment.programs["worker"].stop(signal.SIGKILL)
                    console.print("The worker was killed, and starts again.")
                    deployment.programs["worker"].start()

            alert = rehearsal.publish()
            return rehearsal.follow(alert["id"], WITHIN, show)
    finally:
        rehearsal.close()


def _print(console: Console, reckoning: Reckoning, *, killed: bool) -> None:
    counts, seen = reckoning.alert["counts"], reckoning.push_service
    table = Table(show_header=False)
    table.add_row("audience", f"{counts['audience']:,}")
    table.add_row("accepted", f"{counts['accepted']:,}")
    table.add_row("gone", f"{counts['gone']:,}")
    for name in ("rejected", "expired", "left", "failed", "waiting"):
        if counts[name]:
            table.add_row(name, f"{counts[name]:,}")
    table.add_row(
        "duplicates", f"{reckoning.duplicates:,}" + (" (worker killed)" if killed else "")
    )
    table.add_row("lost", f"{reckoning.lost:,}")
    table.add_row("decrypted sample", f"{seen['sample']['decrypted']:,}")
    for percentile, seconds in reckoning.alert["seconds_to"].items():
        reached = "not reached" if seconds is None else f"{seconds:.2f} s"
        table.add_row(f"time to {percentile}%", reached)
    console.print(table)

"""`notifier rehearse`, as an operator runs it."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from notifier.config import Settings
from notifier.db import Database
from notifier.models import Section
from notifier.rehearsal.deployment import wait_until

pytestmark = pytest.mark.service

PROJECT = Path(__file__).parents[2]
LONG = timedelta(seconds=60)
NOTIFIER = Path(sys.executable).with_name("notifier")


def rehearse(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOTIFIER, "rehearse", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=150,
    )


def test_a_rehearsal_prints_its_reckoning() -> None:
    options = ("--gone", "--missing", "--throttled", "--unavailable")
    shares = [word for option in options for word in (option, "0.1")]
    ended = rehearse("--readers", "500", *shares)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = {
        cells[0].strip(): cells[1].strip()
        for line in ended.stdout.splitlines()
        if len(cells := line.strip("│").split("│")) == 2
    }
    assert rows["audience"] == "500"
    assert int(rows["accepted"]) + int(rows["gone"]) == 500
    assert 50 < int(rows["gone"]) < 150
    assert (rows["duplicates"], rows["lost"]) == ("0", "0")
    assert rows["time to 50%"].endswith(" s")
    assert rows["time to 90%"] == "not reached"


def test_a_database_in_use_is_left_alone(db: Database, settings: Settings) -> None:
    with db.read() as session:
        before = session.scalars(select(Section.name)).all()
    other = {"SECTIONS": "Weather"}
    ended = rehearse("--readers", "10", "--database-url", settings.database, **other)
    assert ended.returncode == 1
    assert "The database is not empty" in ended.stdout
    with db.read() as session:
        assert session.scalars(select(Section.name)).all() == before


def test_a_rehearsal_that_is_told_to_stop_leaves_nothing_running() -> None:
    process = subprocess.Popen([NOTIFIER, "rehearse"], cwd=PROJECT, stdout=subprocess.DEVNULL)
    try:
        started = psutil.Process(process.pid).children
        wait_until(lambda: len(started(recursive=True)) >= 5, LONG, "its processes")
        children = started(recursive=True)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_shares_that_cannot_be_are_refused() -> None:
    ended = rehearse("--readers", "10", "--gone", "0.7", "--throttled", "0.7")
    assert ended.returncode == 2
    assert "more than 1" in ended.stderr

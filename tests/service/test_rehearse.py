"""`notifier rehearse`, as an operator runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.service

PROJECT = Path(__file__).parents[2]
NOTIFIER = Path(sys.executable).with_name("notifier")


def rehearse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NOTIFIER, "rehearse", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=150
    )


def test_a_rehearsal_prints_its_reckoning() -> None:
    ended = rehearse("--readers", "500", "--gone", "0.1", "--missing", "0.1", "--throttled", "0.1")
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


def test_shares_that_cannot_be_are_refused() -> None:
    ended = rehearse("--readers", "10", "--gone", "0.7", "--throttled", "0.7")
    assert ended.returncode == 2
    assert "more than 1" in ended.stderr

"""A worker that dies or hangs is started again, without anybody's help."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals

import psutil
import pytest
import requests
from sqlalchemy import text

from notifier.alerts import Draft, release
from notifier.db import Database
from notifier.rehearsal.deployment import (
    Deployment,
    LocalPushService,
    rehearsal_settings,
    wait_until,
)
from notifier.rehearsal.rehearsal import Rehearsal

pytestmark = pytest.mark.service

PROJECT = Path(__file__).parents[2]
LONG = timedelta(seconds=120)


@pytest.fixture
def deployment(tmp_path: Path, push: LocalPushService) -> Iterator[Deployment]:
    settings = rehearsal_settings(tmp_path / "home", (push.origin,))
    with Deployment(settings, PROJECT / "Procfile") as deployment:
        yield deployment


def celery_of(deployment: Deployment) -> list[psutil.Process]:
    """The main process of Celery, if the supervisor has one."""
    return psutil.Process(deployment.programs["worker"].pid).children()


@pytest.mark.parametrize("blow", [SIGKILL, SIGSTOP])
def test_a_worker_that_is_gone_or_hangs_is_replaced(
    blow: Signals, rehearsal: Rehearsal, deployment: Deployment
) -> None:
    rehearsal.enlist(100, [], lambda _: None)
    [first] = celery_of(deployment)
    first.send_signal(blow)
    wait_until(lambda: celery_of(deployment) not in ([], [first]), LONG, "another worker")

    reckoning = rehearsal.follow(rehearsal.publish()["id"], LONG)
    assert reckoning.failures == []
    [second] = celery_of(deployment)
    assert second != first


def test_a_worker_whose_supervisor_was_killed_dies_too(deployment: Deployment) -> None:
    program = deployment.programs["worker"]
    supervisor = psutil.Process(program.pid)
    below = supervisor.children(recursive=True)
    supervisor.kill()
    assert len(below) >= 3
    assert psutil.wait_procs(below, timeout=LONG.total_seconds())[1] == []


def test_an_alert_that_cannot_be_read_does_not_keep_the_clock_from_ringing_for_others(
    rehearsal: Rehearsal, deployment: Deployment, push: LocalPushService
) -> None:
    rehearsal.enlist(100, [], lambda _: None)
    damaged = rehearsal.publish()["id"]
    rehearsal.follow(damaged, LONG)
    push.control.begin_wave()
    db = Database(deployment.settings.database)
    with db.write() as session:
        session.execute(text("UPDATE alerts SET state = 'closing', closing_as = 'nonsense'"))
        draft = Draft("Bridge closed", "", "https://news.example.com/bridge")
        release(session, draft, validity=timedelta(hours=1), released_by="nobody who rings")
    wait_until(lambda: push.control.report()["accepted"] == 100, LONG, "the other alert")
    db.close()
    assert "clock_failed" in deployment.programs["clock"].complaints()
    assert deployment.programs["clock"].is_running


def test_ops_are_told_that_worker_and_clock_are_alive_and_when_the_worker_is_not(
    deployment: Deployment,
) -> None:
    def health() -> dict[str, str]:
        address = f"{deployment.settings.base_url}/healthz"
        answer: dict[str, str] = requests.get(address, timeout=5).json()
        return answer

    alive = {"worker": "alive", "clock": "alive"}
    wait_until(lambda: alive.items() <= health().items(), LONG, "both to be alive")

    # Deaf, so that it is alive to the system and does nothing.
    psutil.Process(deployment.programs["worker"].pid).suspend()
    for process in celery_of(deployment):
        process.suspend()
    wait_until(lambda: health()["worker"] == "silent", LONG, "the silence to be noticed")
    assert health()["clock"] == "alive"

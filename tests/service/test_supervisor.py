"""A worker that dies or hangs is started again, without anybody's help."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals

import psutil
import pytest
import redis
import requests
from sqlalchemy import text

from notifier.alerts import Draft, release
from notifier.db import Database
from notifier.jobs import broker_url
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
REFUSES_FOR = timedelta(seconds=8)  # longer than a worker may owe an answer


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


REFUSALS = [
    ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),  # as in a failover
    ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
]


def test_a_broker_that_refuses_to_write_is_waited_for(
    rehearsal: Rehearsal, deployment: Deployment
) -> None:
    rehearsal.enlist(100, [], lambda _: None)
    rehearsal.follow(rehearsal.publish("before")["id"], LONG)
    before = celery_of(deployment)
    with redis.Redis.from_url(broker_url(deployment.settings)) as broker:
        for refuse, accept in REFUSALS:
            broker.execute_command(*refuse.split())
            alert = rehearsal.publish(refuse.split()[0])["id"]
            time.sleep(REFUSES_FOR.total_seconds())
            broker.execute_command(*accept.split())
            assert rehearsal.follow(alert, LONG).failures == []
    assert all(program.is_running for program in deployment.programs.values())
    assert celery_of(deployment) == before, "it is none of the worker's fault"


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
    complaints = deployment.programs["clock"].complaints()
    assert f"alert={damaged} " in complaints
    assert "clock_failed" in complaints
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
    deployment.programs["worker"].stop(SIGKILL)  # who is suspended hears nothing else

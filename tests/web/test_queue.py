"""Ringing the workers: through a real broker, and without one."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import requests
from flask import Flask
from flask.testing import FlaskClient

from notifier.config import Settings, environment_of
from notifier.jobs import Job, broker_url
from web.queue import Queue

ARTICLE = {
    "url": "https://www.example.com/2030/flood",
    "title": "River rises above its banks",
    "status": "published",
}
DEADLINE = 30.0

AppMaker = Callable[[Settings], Flask]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def start_broker(settings: Settings) -> Iterator[Callable[[], redis.Redis]]:
    """Starts the embedded broker of these settings when it is called."""
    started: list[subprocess.Popen[bytes]] = []
    client = redis.Redis.from_url(broker_url(settings))

    def start() -> redis.Redis:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "worker.broker"],
                env=environment_of(settings),
            )
        )
        _until(lambda: _answers(client))
        return client

    yield start
    client.close()
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_breaking_article_rings_once_and_the_ring_names_no_article(
    settings: Settings,
    make_app: AppMaker,
    bearer: dict[str, str],
    start_broker: Callable[[], redis.Redis],
) -> None:
    broker = start_broker()
    client = make_app(settings).test_client()
    url = "/api/v1/articles/4711"

    client.put(url, json=ARTICLE, headers=bearer)
    assert broker.llen(Job.DELIVER.value) == 0
    for _ in range(3):
        client.put(url, json=ARTICLE | {"breaking": True}, headers=bearer)

    (message,) = broker.lrange(Job.DELIVER.value, 0, -1)
    envelope = json.loads(message)
    assert envelope["headers"]["task"] == Job.DELIVER.value
    assert envelope["content-type"] == "application/json"
    assert b"4711" not in message


def test_without_a_broker_an_alert_is_released_all_the_same(
    client: FlaskClient, bearer: dict[str, str]
) -> None:
    answer = client.put("/api/v1/articles/1", json=ARTICLE | {"breaking": True}, headers=bearer)

    assert answer.status_code == 201
    assert answer.json["alert"]["state"] == "released"


def test_a_broker_that_comes_back_is_rung_again(
    settings: Settings, start_broker: Callable[[], redis.Redis]
) -> None:
    queue = Queue(broker_url(settings))
    assert queue.ring(Job.DELIVER) is False

    broker = start_broker()

    _until(lambda: queue.ring(Job.DELIVER))
    assert broker.llen(Job.DELIVER.value) == 1


def test_a_broker_that_is_down_is_left_alone_for_a_while_and_its_password_in_no_log(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue(f"redis://:s3cret@127.0.0.1:{settings.broker_port}/0")

    assert [queue.ring(Job.DELIVER) for _ in range(20)] == [False] * 20

    written = "".join(capsys.readouterr())
    assert written.count("broker_unreachable") == 1
    assert "s3cret" not in written


def test_limits_are_counted_by_all_processes_together_and_no_address_is_stored(
    settings: Settings,
    serve: Callable[[Settings], str],
    start_broker: Callable[[], redis.Redis],
) -> None:
    broker = start_broker()
    limited = {"opt_in_rate": "10 per minute", "trusted_proxies": 1}
    server = serve(settings.model_copy(update=limited))

    statuses = [
        requests.post(
            f"{server}/api/v1/subscriptions",
            json={},
            headers={"X-Forwarded-For": "192.0.2.77"},
            timeout=DEADLINE,
        ).status_code
        for _ in range(11)
    ]

    assert statuses == [422] * 10 + [429]
    keys = [key.decode() for key in broker.scan_iter()]
    assert keys
    assert not any("192.0.2" in key for key in keys)

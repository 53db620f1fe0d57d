"""Welcome, test and counting with the whole service running."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from sqlalchemy import select

from notifier.config import Settings, environment_of
from notifier.db import Database
from notifier.jobs import Job
from notifier.models import ReactionCount
from notifier.rehearsal.deployment import Deployment, LocalPushService, wait_until
from notifier.rehearsal.rehearsal import Rehearsal

pytestmark = pytest.mark.service

LONG = timedelta(seconds=60)

QUEUES = """
import json
from worker.app import app
app.loader.import_default_modules()
print(json.dumps([sorted(app.amqp.queues.consume_from), sorted(n for n in app.tasks)]))
"""


def test_every_queue_that_is_rung_is_consumed_and_every_job_is_a_task(tmp_path: Path) -> None:
    nowhere = "redis://127.0.0.1:1/0"  # nothing is rung here
    settings = Settings(_env_file=None, notifier_home=tmp_path, redis_url=nowhere)
    told = subprocess.run(
        [sys.executable, "-c", QUEUES],
        env=environment_of(settings),
        capture_output=True,
        check=True,
        text=True,
    ).stdout

    consumed, tasks = json.loads(told)
    assert consumed == sorted(job.value for job in Job)
    assert set(consumed) <= set(tasks)


def test_a_new_reader_is_welcomed_and_can_ask_for_a_test(
    deployment: Deployment, push: LocalPushService, rehearsal: Rehearsal
) -> None:
    """Also while an alert goes out; and what the alert's notification reports is counted."""
    api = f"{deployment.settings.base_url}/api/v1"
    key = requests.get(f"{api}/config", timeout=10).json()["vapid_public_key"]
    [browser] = push.control.add_readers(1, vapid_public_key=key, keep=True)

    def kinds() -> list[str]:
        got = [json.loads(one["data"]) for one in push.control.messages(browser["endpoint"])]
        return [one["notification"]["data"]["kind"] for one in got]

    def post(path: str, body: dict[str, Any] | None = None) -> requests.Response:
        answer = requests.post(f"{api}{path}", json=body, timeout=10)
        assert answer.ok
        return answer

    opted_in = post("/subscriptions", {"subscription": browser, "welcome": True})
    wait_until(lambda: kinds() == ["welcome"], LONG, "the welcome")
    again = post("/subscriptions", {"subscription": browser, "welcome": True})
    assert (opted_in.status_code, again.status_code) == (201, 200)

    rehearsal.enlist(5_000, [], lambda _: None)
    alert = rehearsal.publish()
    post("/subscriptions/test", {"management_token": again.json()["management_token"]})
    wait_until(lambda: sorted(kinds()) == ["breaking", "test", "welcome"], LONG, "the test")
    assert rehearsal.follow(alert["id"], LONG).alert["counts"]["accepted"] == 5_001

    post(f"/alerts/{alert['id']}/shown")
    db = Database(deployment.settings.database)
    try:
        wait_until(lambda: _reports(db) == [(alert["id"], "shown", 1)], LONG, "the count")
    finally:
        db.close()


class FromAnAddress(HTTPAdapter):
    """Sends requests from an address of its own, as a reader does."""

    ADDRESS = "127.0.0.77"

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, source_address=(self.ADDRESS, 0))


def test_no_log_names_a_readers_address_endpoint_or_keys(
    deployment: Deployment, push: LocalPushService, rehearsal: Rehearsal
) -> None:
    """Not when all goes well, and not when requests are refused or messages fail."""
    api = f"{deployment.settings.base_url}/api/v1"
    key = requests.get(f"{api}/config", timeout=10).json()["vapid_public_key"]
    browsers = push.control.add_readers(3, vapid_public_key=key)
    push.control.set_faults([{"status": 403, "share": 0.5}])
    with requests.Session() as reader:
        reader.mount("http://", FromAnAddress())
        for browser in browsers:
            body = {"subscription": browser, "welcome": True}
            assert reader.post(f"{api}/subscriptions", json=body, timeout=10).ok
            other_keys = browser | {"keys": browser["keys"] | {"auth": "AAAAAAAAAAAAAAAAAAAAAA"}}
            refused = reader.post(
                f"{api}/subscriptions", json={"subscription": other_keys}, timeout=10
            )
            assert refused.status_code == 409
        alert = rehearsal.publish()
        rehearsal.follow(alert["id"], LONG)
        assert reader.post(f"{api}/alerts/{alert['id']}/shown", timeout=10).ok

    logs = "".join(program.output.read_text() for program in deployment.programs.values())
    assert "alert_released" in logs
    assert FromAnAddress.ADDRESS not in logs
    for browser in browsers:
        for secret in (browser["endpoint"].rpartition("/")[2], *browser["keys"].values()):
            assert secret not in logs


def test_a_welcome_that_nobody_could_ring_for_is_sent_once_the_broker_is_back(
    deployment: Deployment, push: LocalPushService
) -> None:
    api = f"{deployment.settings.base_url}/api/v1"
    key = requests.get(f"{api}/config", timeout=10).json()["vapid_public_key"]
    [browser] = push.control.add_readers(1, vapid_public_key=key, keep=True)
    broker = deployment.programs["broker"]
    broker.stop(SIGKILL)

    body = {"subscription": browser, "welcome": True}
    answer = requests.post(f"{api}/subscriptions", json=body, timeout=10)
    broker.start()

    assert answer.status_code == 201
    wait_until(lambda: bool(push.control.messages(browser["endpoint"])), LONG, "the welcome")


def _reports(db: Database) -> list[tuple[int, str, int]]:
    with db.read() as session:
        rows = session.scalars(select(ReactionCount))
        return [(row.alert_id, row.reaction.value, row.reports) for row in rows]

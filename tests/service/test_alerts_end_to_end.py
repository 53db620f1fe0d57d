"""What reaches readers when an article is published, whatever breaks meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from signal import SIGKILL

import pytest
import requests

from notifier.db import Database
from notifier.rehearsal.deployment import Deployment, LocalPushService, wait_until
from notifier.rehearsal.rehearsal import Fault, Rehearsal
from notifier.tokens import Scope, create

pytestmark = pytest.mark.service

READERS = 10_000
LONG = timedelta(seconds=120)


def test_those_whose_endpoint_is_gone_are_gone_and_the_others_get_the_alert_once(
    rehearsal: Rehearsal,
) -> None:
    rehearsal.enlist(READERS, [Fault(410, 0.1)], lambda _: None)
    reckoning = rehearsal.follow(rehearsal.publish()["id"], LONG)

    assert reckoning.failures == []
    counts = reckoning.alert["counts"]
    assert counts["audience"] == READERS
    assert counts["accepted"] + counts["gone"] == READERS
    assert counts["gone"] == reckoning.push_service["gone"] > READERS * 0.08
    assert reckoning.alert["seconds_to"]["50"] is not None
    assert reckoning.alert["seconds_to"]["99"] is None  # a tenth is gone


def test_throttled_and_failing_endpoints_are_asked_again_when_they_said(
    rehearsal: Rehearsal,
) -> None:
    rehearsal.enlist(2_000, [Fault(429, 0.1), Fault(503, 0.1)], lambda _: None)
    reckoning = rehearsal.follow(rehearsal.publish()["id"], LONG)

    assert reckoning.failures == []
    assert reckoning.alert["counts"]["accepted"] == 2_000
    assert reckoning.push_service["by_status"]["429"] > 100


def test_nobody_is_lost_when_the_worker_is_killed_and_started_again(
    rehearsal: Rehearsal, deployment: Deployment
) -> None:
    rehearsal.enlist(READERS, [], lambda _: None)
    alert = rehearsal.publish()
    worker = deployment.programs["worker"]
    wait_until(
        lambda: rehearsal.alert(alert["id"])["counts"]["accepted"] > READERS / 10, LONG, "a tenth"
    )
    worker.stop(SIGKILL)
    before = rehearsal.alert(alert["id"])
    assert before["state"] == "released"
    assert before["counts"]["waiting"] > 0
    worker.start()
    reckoning = rehearsal.follow(alert["id"], LONG)

    assert reckoning.lost == 0
    assert reckoning.alert["state"] == "finished"
    assert reckoning.alert["counts"]["accepted"] == READERS
    # What was accepted after the last checkpoint, at most: it could not be known.
    assert reckoning.duplicates <= READERS - before["counts"]["accepted"]
    assert reckoning.push_service["topics"] == [f"story-{alert['id']}"]


def test_an_alert_goes_out_once_the_broker_is_back(
    rehearsal: Rehearsal, deployment: Deployment
) -> None:
    rehearsal.enlist(100, [], lambda _: None)
    broker = deployment.programs["broker"]
    broker.stop(SIGKILL)
    alert = rehearsal.publish()  # answers 2xx, or this raises
    assert rehearsal.alert(alert["id"])["counts"]["accepted"] == 0
    broker.start()
    reckoning = rehearsal.follow(alert["id"], LONG)

    assert reckoning.failures == []
    assert reckoning.alert["counts"]["accepted"] == 100


def test_fifty_publishers_at_once_raise_one_alert_that_any_client_can_read(
    deployment: Deployment, push: LocalPushService
) -> None:
    settings = deployment.settings
    api = f"{settings.base_url}/api/v1"
    key = requests.get(f"{api}/config", timeout=10).json()["vapid_public_key"]
    [subscription] = push.control.add_readers(1, vapid_public_key=key, keep=True)
    answer = requests.post(f"{api}/subscriptions", json={"subscription": subscription}, timeout=10)
    assert answer.status_code == 201
    db = Database(settings.database)
    with db.write() as session:
        token = create(session, Scope.ARTICLES_WRITE, "cms")
    db.close()

    def put(_: int) -> requests.Response:
        return requests.put(
            f"{api}/articles/flood-4711",
            headers={"Authorization": f"Bearer {token}"},
            json={
                "url": "https://news.example.com/flood",
                "title": "BREAKING: River bursts its banks",
                "summary": "Two villages are cut off.",
                "status": "published",
                "breaking": True,
            },
            timeout=60,
        )

    with ThreadPoolExecutor(50) as publishers:
        answers = list(publishers.map(put, range(50)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["alert"]["id"] for answer in answers}) == 1

    wait_until(lambda: bool(push.control.messages(subscription["endpoint"])), LONG, "the alert")
    [message] = push.control.messages(subscription["endpoint"])
    assert "River bursts its banks" in str(message)
    report = push.control.report()
    assert report["accepted"] == 1
    assert report["vapid_failures"] == 0

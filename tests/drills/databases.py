"""Drills 7 to 9 and 11: a database that crashes, is away, or is wanted by everybody at once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http import HTTPStatus

import requests
from drills.drill import POSTGRESQL, SQLITE, Round, drill
from sqlalchemy import func, select

from notifier.endpoints import encode_key
from notifier.ledger import LEASE
from notifier.models import Alert, Subscription

PUBLISHERS = 50
BROWSERS = 2


@drill("7", "PostgreSQL crashes in the middle and recovers", POSTGRESQL)
def crash_the_database(round_: Round) -> None:
    round_.begin()
    cluster = round_.stage.cluster
    assert cluster is not None
    round_.reach(0.05, 0.7)
    cluster.stop(at_once=True)
    # Every fourth time for so long that all leases have run out when it is back.
    is_long = round_.is_full_size and round_.number % 4 == 0
    away = LEASE.total_seconds() * is_long + round_.chance.uniform(0, 2)
    round_.result.notes.append(f"away for {away:.1f} s")
    time.sleep(away)
    before = round_.stage.accepted_when_quiet()  # it pauses, as it cannot checkpoint
    round_.require(cluster.start(), "PostgreSQL did not recover")
    round_.resumes(
        lambda: round_.stage.accepted() > before or _is_over(round_),
        "sending",
        within=timedelta(seconds=10),
    )
    round_.reckon()


@drill("8", "the database is down while an article is published", POSTGRESQL)
def publish_without_database(round_: Round) -> None:
    stage, cluster = round_.stage, round_.stage.cluster
    assert cluster is not None
    round_.have_few()
    stage.push.control.begin_wave()
    cluster.stop()
    article = stage.article_id()
    answer = stage.rehearsal.put_article(article)
    time.sleep(round_.chance.uniform(0, 1))
    status = HTTPStatus.SERVICE_UNAVAILABLE
    round_.require(answer.status_code == status, f"web answered {answer.status_code}")
    round_.require(stage.accepted() == 0, "something was sent")
    round_.require(cluster.start(), "PostgreSQL did not start")
    round_.alert_id = stage.rehearsal.publish(article)["id"]  # as the CMS tries again
    round_.resumes(lambda: stage.accepted() > 0, "sending", within=timedelta(seconds=10))
    round_.reckon()


@drill("9", "four worker processes and the web app write to SQLite at once", SQLITE)
def write_at_once(round_: Round) -> None:
    stage = round_.stage
    stage.enlist(round_.readers)
    marks = stage.log_marks()
    readers = _some_readers(round_)
    with stage.another_worker() as second:
        over = threading.Event()
        with ThreadPoolExecutor(BROWSERS) as browsers:
            busy = [browsers.submit(_change_minds, round_, readers, over) for _ in range(BROWSERS)]
            try:
                round_.publish()
                stage.wait_for_end(round_.alert_id)
            finally:
                over.set()
            refused = [status for future in busy for status in future.result() if status >= 400]
        logs = [*stage.logged_since(marks).values(), second.complaints()]
        round_.reckon()
    round_.require(not refused, f"web answered {set(refused)}")
    for log in logs:
        round_.require("locked" not in log, "'locked' in a log")
        round_.require("sending_paused" not in log, "a checkpoint failed")


@drill("11", "50 publish the same article at once")
def publish_at_once(round_: Round) -> None:
    stage = round_.stage
    round_.have_few()
    stage.push.control.begin_wave()
    with stage.db.read() as session:
        newest = session.scalars(select(func.max(Alert.id))).one() or 0
    articles = [stage.article_id()] * PUBLISHERS
    with ThreadPoolExecutor(PUBLISHERS) as publishers:
        answers = list(publishers.map(stage.rehearsal.put_article, articles))
    statuses = Counter(answer.status_code for answer in answers)
    expected = {HTTPStatus.CREATED: 1, HTTPStatus.OK: PUBLISHERS - 1}
    round_.require(statuses == expected, f"web answered {dict(statuses)}")
    told = {answer.json()["alert"]["id"] for answer in answers if answer.ok}
    with stage.db.read() as session:
        rows = session.scalars(select(Alert.id).where(Alert.id > newest)).all()
    round_.require(told == set(rows), f"alerts {rows}, and the publishers were told of {told}")
    [round_.alert_id] = rows  # raises unless there is one
    round_.reckon()


def _some_readers(round_: Round) -> list[dict[str, object]]:
    """Subscriptions as their browsers would send them."""
    with round_.stage.db.read() as session:
        rows = session.scalars(select(Subscription).limit(200)).all()
    return [
        {
            "endpoint": row.endpoint,
            "keys": {"p256dh": encode_key(row.p256dh), "auth": encode_key(row.auth)},
        }
        for row in rows
    ]


def _change_minds(
    round_: Round, readers: list[dict[str, object]], over: threading.Event
) -> list[int]:
    """Choose other sections again and again, through the API; answers the statuses."""
    api = f"{round_.stage.settings.base_url}/api/v1/subscriptions"
    statuses = []
    with requests.Session() as session:
        while not over.is_set():
            choice = {
                "subscription": round_.chance.choice(readers),
                "sections": round_.chance.sample(["politics", "sport", "culture"], 2),
            }
            statuses.append(session.post(api, json=choice, timeout=60).status_code)
    return statuses


def _is_over(round_: Round) -> bool:
    try:
        return round_.stage.rehearsal.alert(round_.alert_id)["state"] == "finished"
    except requests.RequestException:
        return False

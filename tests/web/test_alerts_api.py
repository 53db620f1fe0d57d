"""What a CMS does with an alert after it was raised: follows it up, or stops it."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from sqlalchemy import select

from notifier import alerts
from notifier.config import Settings
from notifier.db import Database
from notifier.models import Alert, AlertState, Level

ARTICLE = {
    "url": "https://www.example.com/2030/flood",
    "title": "River rises above its banks",
    "status": "published",
    "breaking": True,
}
UPDATE = {"kind": "update", "title": "River falls again"}
MACHINES = 8

Post = Callable[..., Any]


@pytest.fixture
def post(client: FlaskClient, bearer: dict[str, str]) -> Post:
    return lambda path, body=None: client.post(f"/api/v1{path}", json=body, headers=bearer)


@pytest.fixture
def raised(client: FlaskClient, bearer: dict[str, str]) -> int:
    """The id of an alert that an article has raised."""
    answer = client.put("/api/v1/articles/1", json=ARTICLE, headers=bearer)
    return int(answer.json["alert"]["id"])


def stored(db: Database) -> list[Alert]:
    with db.read() as session:
        return list(session.scalars(select(Alert).order_by(Alert.id)))


def test_a_follow_up_is_released_and_ends_the_alert_before(
    db: Database, post: Post, raised: int
) -> None:
    answer = post(f"/alerts/{raised}/follow-ups", UPDATE | {"body": "Slowly."})

    assert answer.status_code == 201
    assert answer.json["kind"] == "update"
    assert answer.json["id"] == answer.json["newest"] != raised
    [before, update] = stored(db)
    assert before.closing_as == AlertState.SUPERSEDED
    assert (update.title, update.body) == ("River falls again", "Slowly.")
    assert (update.url, update.released_by) == (ARTICLE["url"], "cms")
    assert update.story_id == before.story_id


def test_repeating_a_follow_up_answers_with_the_alert_that_there_is(
    db: Database, post: Post, raised: int
) -> None:
    first = post(f"/alerts/{raised}/follow-ups", UPDATE)
    again = post(f"/alerts/{raised}/follow-ups", UPDATE | {"url": ARTICLE["url"]})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["id"] == again.json["id"]
    assert len(stored(db)) == 2


def test_only_the_newest_alert_can_be_followed_up_and_the_answer_says_what_is_newer(
    client: FlaskClient, bearer: dict[str, str], db: Database, post: Post, raised: int
) -> None:
    update = post(f"/alerts/{raised}/follow-ups", UPDATE).json["id"]

    late = post(f"/alerts/{raised}/follow-ups", {"kind": "correction", "title": "It did not"})
    shown = client.get(f"/api/v1/alerts/{raised}", headers=bearer).json
    right = post(f"/alerts/{update}/follow-ups", {"kind": "correction", "title": "It did not"})

    assert late.status_code == 409
    assert "“River falls again”" in late.json["detail"]
    assert shown["newest"] == update
    assert right.status_code == 201
    assert right.json["story"] == shown["story"]


def test_a_story_is_withdrawn_once(post: Post, raised: int) -> None:
    withdrawal = {"kind": "withdrawal", "title": "We have withdrawn an alert"}
    withdrawn = post(f"/alerts/{raised}/follow-ups", withdrawal).json["id"]

    again = post(f"/alerts/{withdrawn}/follow-ups", withdrawal)

    assert again.status_code == 409
    assert "withdrawn already" in again.json["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "breaking"}, "kind"),
        ({"title": " "}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"url": "https://elsewhere.example.org/"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"key": "1"}, "key"),
    ],
)
def test_what_is_wrong_with_a_follow_up_is_named_and_nothing_is_sent(
    db: Database, post: Post, raised: int, changes: dict[str, Any], field: str
) -> None:
    answer = post(f"/alerts/{raised}/follow-ups", UPDATE | changes)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert len(stored(db)) == 1


def test_following_up_and_stopping_need_a_token_and_an_alert(
    client: FlaskClient, post: Post, raised: int
) -> None:
    assert client.post(f"/api/v1/alerts/{raised}/follow-ups", json=UPDATE).status_code == 401
    assert client.post(f"/api/v1/alerts/{raised}/stop").status_code == 401
    assert post(f"/alerts/{raised + 1}/follow-ups", UPDATE).status_code == 404
    assert post(f"/alerts/{raised + 1}/stop").status_code == 404


def test_of_machines_that_follow_up_at_once_one_wins_and_the_others_get_a_conflict(
    settings: Settings,
    serve: Callable[[Settings], str],
    db: Database,
    bearer: dict[str, str],
    raised: int,
) -> None:
    server = serve(settings)
    together = threading.Barrier(MACHINES)
    answers: list[requests.Response] = []

    def send(number: int) -> None:
        together.wait()
        answers.append(
            requests.post(
                f"{server}/api/v1/alerts/{raised}/follow-ups",
                json=UPDATE | {"title": f"Words {number // 2}"},
                headers=bearer,
                timeout=60,
            )
        )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(MACHINES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Each two of them send the same words, and so both of the winners have an answer.
    assert Counter(one.status_code for one in answers) == {201: 1, 200: 1, 409: MACHINES - 2}
    assert len(stored(db)) == 2


def test_stopping_says_how_many_have_it_and_may_be_repeated(post: Post, raised: int) -> None:
    stopped = post(f"/alerts/{raised}/stop")
    again = post(f"/alerts/{raised}/stop")

    assert stopped.status_code == again.status_code == 200
    assert stopped.json["state"] == again.json["state"] == "closing", "nobody is counted yet"
    assert stopped.json["counts"]["accepted"] == 0


def test_an_alert_that_has_ended_otherwise_cannot_be_stopped(post: Post, raised: int) -> None:
    post(f"/alerts/{raised}/follow-ups", UPDATE)

    answer = post(f"/alerts/{raised}/stop")

    assert answer.status_code == 409
    assert "superseded" in answer.json["detail"]


def test_an_article_of_the_biggest_stories_goes_to_readers_who_want_nothing_else(
    client: FlaskClient, bearer: dict[str, str], db: Database
) -> None:
    answer = client.put("/api/v1/articles/1", json=ARTICLE | {"major": True}, headers=bearer)
    client.put("/api/v1/articles/2", json=ARTICLE, headers=bearer)

    assert answer.json["article"]["major"] is True
    assert [alert.level for alert in stored(db)] == [Level.BIGGEST, Level.BREAKING]
    # What an article says later changes nothing about an alert that was raised before.
    client.put("/api/v1/articles/2", json=ARTICLE | {"major": True}, headers=bearer)
    with db.read() as session:
        assert [alert.level for alert in alerts.latest(session, 9)] == [
            Level.BREAKING,
            Level.BIGGEST,
        ]

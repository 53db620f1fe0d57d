"""What a CMS does: PUT an article, and ask how its alert is getting on."""

from typing import Any
from urllib.parse import unquote

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from notifier import alerts, tokens
from notifier.db import Database
from notifier.ledger import Ledger
from notifier.models import Alert, Article

ARTICLE = {
    "url": "https://www.example.com/2030/flood",
    "title": "River rises above its banks",
    "status": "published",
}
BREAKING = ARTICLE | {"breaking": True}


def alert_count(db: Database) -> int:
    with db.read() as session:
        return session.execute(select(func.count()).select_from(Alert)).scalar_one()


def test_a_breaking_article_raises_one_alert_however_often_it_is_sent(
    client: FlaskClient, db: Database, bearer: dict[str, str]
) -> None:
    first = client.put("/api/v1/articles/4711", json=BREAKING, headers=bearer)
    again = client.put("/api/v1/articles/4711", json=BREAKING, headers=bearer)

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["alert"]["state"] == "released"
    assert first.json["alert"] == again.json["alert"]
    assert first.json["warnings"] == []
    stored = {name: first.json["article"][name] for name in ("id", *BREAKING)}
    assert stored == BREAKING | {"id": "4711"}
    assert alert_count(db) == 1
    with db.read() as session:
        assert session.scalars(select(Alert.released_by)).one() == "cms"


def test_a_draft_raises_nothing_until_it_is_published(
    client: FlaskClient, db: Database, bearer: dict[str, str]
) -> None:
    draft = client.put("/api/v1/articles/1", json=BREAKING | {"status": "draft"}, headers=bearer)
    calm = client.put("/api/v1/articles/1", json=ARTICLE, headers=bearer)
    assert draft.json["alert"] is calm.json["alert"] is None
    assert alert_count(db) == 0

    published = client.put("/api/v1/articles/1", json=BREAKING, headers=bearer)

    assert published.json["alert"]["state"] == "released"


def test_a_late_revision_changes_nothing_and_answers_what_is_stored(
    client: FlaskClient, db: Database, bearer: dict[str, str]
) -> None:
    client.put("/api/v1/articles/1", json=ARTICLE | {"revision": 7}, headers=bearer)

    late = client.put(
        "/api/v1/articles/1", json=BREAKING | {"revision": 6, "title": "Old"}, headers=bearer
    )

    assert late.status_code == 200
    assert (late.json["article"]["title"], late.json["article"]["revision"]) == (
        ARTICLE["title"],
        7,
    )
    assert late.json["alert"] is None
    assert late.json["warnings"]
    assert alert_count(db) == 0


def test_everything_that_an_article_has_is_kept(
    client: FlaskClient, bearer: dict[str, str]
) -> None:
    article = ARTICLE | {
        "summary": "Ünïcode 🌊, <b>not</b> markup.",
        "image": "https://cdn.example.net/flood.jpg",
        "sections": ["Politics", "Gardening"],
        "published_at": "2030-01-31T13:00:00+01:00",
        "revision": 3,
    }

    answer = client.put("/api/v1/articles/1", json=article, headers=bearer)

    kept = answer.json["article"]
    assert kept["summary"] == article["summary"]
    assert kept["image"] == article["image"]
    assert kept["sections"] == ["politics", "gardening"]
    assert kept["published_at"] == "2030-01-31T12:00:00Z"


def test_sections_that_readers_cannot_choose_are_warned_of(
    client: FlaskClient, bearer: dict[str, str]
) -> None:
    answer = client.put(
        "/api/v1/articles/1", json=BREAKING | {"sections": ["Gardening"]}, headers=bearer
    )

    assert answer.status_code == 201
    assert "gardening" in answer.json["warnings"][0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": " \n"}, "title"),
        ({"title": "x" * 301}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"title": None}, "title"),
        ({"summary": "x" * 5001}, "summary"),
        ({"summary": "\0"}, "summary"),
        ({"sections": ["x"] * 51}, "sections"),
        ({"sections": ["a\0"]}, "sections.0"),
        ({"status": "live"}, "status"),
        ({"breaking": "yes"}, "breaking"),
        ({"braking": True}, "braking"),
        ({"published_at": "2030-01-31T12:00:00"}, "published_at"),
        ({"published_at": "1700000000"}, "published_at"),
        ({"published_at": "-5"}, "published_at"),
        ({"published_at": 1700000000}, "published_at"),
        ({"published_at": "0001-01-01T00:00:00+14:00"}, "published_at"),
        ({"revision": -1}, "revision"),
        ({"revision": 2**31}, "revision"),
        ({"revision": 10**400}, "revision"),
        ({"revision": True}, "revision"),
        ({"url": "https://elsewhere.example/"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "https://www.example.com/\0"}, "url"),
        ({"url": "https://[::1"}, "url"),
        ({"image": "http://www.example.com/x.png"}, "image"),
    ],
)
def test_what_cannot_be_accepted_is_named(
    client: FlaskClient,
    db: Database,
    bearer: dict[str, str],
    change: dict[str, Any],
    field: str,
) -> None:
    answer = client.put("/api/v1/articles/1", json=BREAKING | change, headers=bearer)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == 422
    assert field in [error["field"] for error in answer.json["errors"]]
    with db.read() as session:
        assert session.scalars(select(Article)).all() == []


@pytest.mark.parametrize(
    "path",
    ["4711", "https%3A%2F%2Fwww.example.com%2F%3Fp%3D123", "%C3%A4%20b", "a%2F%2Fb%2F", "x" * 200],
)
def test_any_printable_text_is_an_articles_id(
    client: FlaskClient, bearer: dict[str, str], path: str
) -> None:
    answer = client.put(f"/api/v1/articles/{path}", json=ARTICLE, headers=bearer)

    assert answer.status_code == 201
    assert answer.json["article"]["id"] == unquote(path)


@pytest.mark.parametrize("path", ["a%00", "%0A", "x" * 201, "%FF", "%ED%A0%80"])
def test_other_ids_are_refused(client: FlaskClient, bearer: dict[str, str], path: str) -> None:
    answer = client.put(f"/api/v1/articles/{path}", json=ARTICLE, headers=bearer)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "article_id"


def test_only_a_valid_token_opens_the_door(client: FlaskClient, db: Database, token: str) -> None:
    given = ["", "Bearer", "Bearer nope", "Basic Y21zOng=", f"Bearer {token}x", f"Token {token}"]
    for header in given:
        for method, path in (("PUT", "articles/1"), ("GET", "alerts/1")):
            answer = client.open(
                f"/api/v1/{path}", method=method, json=BREAKING, headers={"Authorization": header}
            )
            assert answer.status_code == 401, header
            assert answer.content_type == "application/problem+json"
            assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert alert_count(db) == 0

    with db.write() as session:
        tokens.revoke(session, "cms")
    revoked = client.put(
        "/api/v1/articles/1", json=BREAKING, headers={"Authorization": f"Bearer {token}"}
    )
    assert revoked.status_code == 401


def test_guessing_tokens_is_slowed_down_and_holds_up_no_valid_one(
    client: FlaskClient, bearer: dict[str, str]
) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    statuses = [client.get("/api/v1/alerts/1", headers=wrong).status_code for _ in range(70)]

    assert set(statuses[:60]) == {401}
    assert statuses[-1] == 429
    assert client.put("/api/v1/articles/1", json=BREAKING, headers=bearer).status_code == 201


def test_an_alert_says_how_it_is_getting_on(
    client: FlaskClient, db: Database, bearer: dict[str, str]
) -> None:
    raised = client.put("/api/v1/articles/1", json=BREAKING, headers=bearer).json["alert"]
    url = f"/api/v1/alerts/{raised['id']}"

    answer = client.get(url, headers=bearer)

    assert answer.status_code == 200
    names = "audience waiting accepted gone rejected expired left stopped superseded failed"
    assert answer.json | {"released_at": None, "expires_at": None} == {
        "id": raised["id"],
        "story": "story-1",
        "newest": raised["id"],
        "state": "released",
        "kind": "breaking",
        "title": BREAKING["title"],
        "planning": True,
        "released_at": None,
        "expires_at": None,
        "ended_at": None,
        "counts": dict.fromkeys(names.split(), 0),
        "seconds_to": {"50": None, "90": None, "99": None},
        "planning_error": None,
    }
    with db.write() as session:
        alerts.stop(session, raised["id"])
    assert client.get(url, headers=bearer).json["state"] == "closing", (
        "until its readers are counted"
    )
    Ledger(db).plan()
    assert client.get(url, headers=bearer).json["state"] == "stopped"


@pytest.mark.parametrize("alert_id", ["999", "0", "-1", "x", str(2**63), str(10**30)])
def test_alerts_that_do_not_exist_are_not_found(
    client: FlaskClient, bearer: dict[str, str], alert_id: str
) -> None:
    answer = client.get(f"/api/v1/alerts/{alert_id}", headers=bearer)

    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"

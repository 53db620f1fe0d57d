"""What strangers try, and exactly what they are answered."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from newsroom_pages import EditorsBrowser
from sqlalchemy import func, select

from notifier.config import Settings
from notifier.db import Database
from notifier.models import Alert, Subscription

API = "/api/v1"
URL = f"{API}/subscriptions"
MARKUP = '<script>alert(1)</script><img src=x onerror="alert(2)">'
Maker = Callable[..., dict[str, Any]]

READERS_ROUTES = [
    ("POST", URL),
    ("POST", f"{URL}/show"),
    ("PATCH", URL),
    ("DELETE", URL),
    ("POST", f"{URL}/test"),
]
REPORTS = [f"{API}/alerts/1/shown", f"{API}/alerts/1/clicked"]

ENDPOINTS = [
    r"https://127.0.0.1\@fcm.googleapis.com/x",
    "https://fcm.googleapis.com@127.0.0.1/",
    "https://fcm.googleapis.com:x@127.0.0.1/",
    "http://fcm.googleapis.com/x",
    "https://fcm.googleapis.com:8443/x",
    "https://fcm.googleapis.com:22/x",
    "file:///etc/passwd",
    "file://fcm.googleapis.com/etc/passwd",
    "https://fcm.g00gleapis.com/x",
    "https://fcm.googleapis.com.evil.example/x",
    "https://evilfcm.googleapis.com/x",
    "https://push.apple.com.evil.example/x",
    "https://evilpush.apple.com/x",
    "https://fcm\u3002googleapis\u3002com/x",
    "https://fcm\uff0egoogleapis\uff0ecom/x",
    "https://fcm.google\u0430pis.com/x",
    "https://localhost/x",
    "https://127.0.0.1/x",
    "https://2130706433/x",
    "https://0177.0.0.1/x",
    "https://0x7f.1/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:a9fe:a9fe]/x",
    "https://[64:ff9b::7f00:1]/x",
    "https://[64:ff9b::169.254.169.254]/x",
    "https://169.254.169.254/latest/meta-data/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://[fd00:ec2::254]/latest/meta-data/",
]


def held(db: Database) -> int:
    with db.read() as session:
        return session.scalars(select(func.count()).select_from(Subscription)).one()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_that_is_no_push_services_is_refused(
    client: FlaskClient, db: Database, push_subscription: Maker, endpoint: str
) -> None:
    client.post(URL, json={"subscription": push_subscription()})
    hostile = push_subscription() | {"endpoint": endpoint}
    old = {"endpoint": push_subscription()["endpoint"], **hostile["keys"]}

    answers = [
        client.post(URL, json={"subscription": hostile}),
        client.post(URL, json={"subscription": hostile, "old": old}),
    ]

    for answer in answers:
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["subscription.endpoint"]
        assert "127.0.0.1" not in answer.text
    assert held(db) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("p256dh", "BA" + "A" * 85),  # no point of the curve
        ("p256dh", "Av" * 43),
        ("p256dh", ""),
        ("auth", "AAAAAAAAAAAAAAAAAAAA"),  # 15 bytes
        ("auth", "AAAAAAAAAAAAAAAAAAAAAAA"),
        ("auth", ""),
    ],
)
def test_keys_that_are_none_are_refused(
    client: FlaskClient, db: Database, push_subscription: Maker, key: str, value: str
) -> None:
    hostile = push_subscription()
    hostile["keys"][key] = value

    answer = client.post(URL, json={"subscription": hostile})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == [f"subscription.keys.{key}"]
    assert held(db) == 0


@pytest.mark.parametrize(("method", "path"), READERS_ROUTES)
def test_bodies_that_are_too_large_too_deep_or_no_json(
    client: FlaskClient, method: str, path: str
) -> None:
    addresses = (f"192.0.2.{number}" for number in range(99))

    def status(body: bytes, content_type: str | None = "application/json") -> int:
        answer = client.open(
            path,
            method=method,
            data=body,
            content_type=content_type,
            environ_base={"REMOTE_ADDR": next(addresses)},
        )
        assert answer.content_type == "application/problem+json"
        return answer.status_code

    assert status(b'"' + b"x" * 1_000_000 + b'"') == 413
    assert status(b"[" * 30_000 + b"]" * 30_000) == 400
    assert status(b'{"old":' * 5_000 + b"1" + b"}" * 5_000) == 400
    assert status(b"{", "application/json") == 400
    for content_type in ("text/plain", "application/x-www-form-urlencoded", None):
        assert status(b"{}", content_type) == 415


@pytest.mark.parametrize(("method", "path"), [*READERS_ROUTES, *(("POST", url) for url in REPORTS)])
def test_pages_of_other_sites_are_refused(client: FlaskClient, method: str, path: str) -> None:
    for origin in ("https://evil.example", "null", "https://www.example.com.evil.example"):
        answer = client.open(path, method=method, json={}, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", REPORTS)
def test_reports_need_no_json_and_read_no_body(client: FlaskClient, path: str) -> None:
    for body, content_type in ((b"", None), (b"x" * 1_000, "text/plain"), (b"{", "image/png")):
        assert client.post(path, data=body, content_type=content_type).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [route for route in READERS_ROUTES if route != ("POST", URL)]
)
def test_guessing_finds_nobody(
    client: FlaskClient, db: Database, push_subscription: Maker, method: str, path: str
) -> None:
    reader, stranger = push_subscription("reader"), push_subscription("stranger")
    client.post(URL, json={"subscription": reader})
    with db.read() as session:
        row = session.scalars(select(Subscription)).one()
        stored = row.management_token_hash.hex() if row.management_token_hash else ""
    right = {"endpoint": reader["endpoint"], **reader["keys"]}
    guesses: list[dict[str, str]] = [
        {"management_token": "1"},
        {"management_token": ""},
        {"management_token": stored},
        {"management_token": "' OR 1=1 --"},
        right | {"auth": stranger["keys"]["auth"]},
        right | {"auth": ""},
        right | {"p256dh": stranger["keys"]["p256dh"]},
        right | {"endpoint": reader["endpoint"] + "x"},
        right | {"management_token": "1"},
    ]

    answers = [
        client.open(path, method=method, json=guess, environ_base={"REMOTE_ADDR": f"10.0.0.{n}"})
        for n, guess in enumerate(guesses)
    ]

    assert [answer.status_code for answer in answers] == [404] * len(guesses)
    assert len({answer.data for answer in answers}) == 1
    by_id = client.open(path, method=method, json={"id": 1})
    assert by_id.status_code == 422
    assert held(db) == 1


def test_anothers_endpoint_with_new_keys_is_refused(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    client.post(URL, json={"subscription": push_subscription("reader")})
    own = push_subscription("own")
    token = client.post(URL, json={"subscription": own}).json["management_token"]
    theft = {"subscription": push_subscription("reader")}

    answers = [
        client.post(URL, json=theft),
        client.post(URL, json=theft | {"old": {"management_token": token}}),
        client.post(URL, json=theft | {"old": {"endpoint": own["endpoint"], **own["keys"]}}),
    ]

    assert [answer.status_code for answer in answers] == [409] * 3
    assert held(db) == 2


def test_a_flood_from_one_address_harms_no_other(
    settings: Settings, make_app: Callable[[Settings], Flask], push_subscription: Maker
) -> None:
    few = settings.model_copy(update={"opt_in_rate": "20 per minute"})
    client = make_app(few).test_client()

    def opt_in(number: int, address: str) -> int:
        return client.post(
            URL,
            json={"subscription": push_subscription(f"reader{number}")},
            environ_base={"REMOTE_ADDR": address},
        ).status_code

    flood = [opt_in(number, "203.0.113.9") for number in range(40)]

    assert flood == [201] * 20 + [429] * 20
    assert [opt_in(100 + number, f"203.0.113.{10 + number}") for number in range(5)] == [201] * 5


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//www.example.com",
        "data:text/html,<script>alert(1)</script>",
        "https://evil.example/x",
        "https://www.example.com@evil.example/x",
        r"https://evil.example\@www.example.com/x",
        "https://www.example.com.evil.example/x",
        "//evil.example/x",
        "http://www.example.com/x",
    ],
)
def test_an_alert_leads_nowhere_but_to_the_newsroom(
    client: FlaskClient, db: Database, bearer: dict[str, str], url: str
) -> None:
    article = {"url": url, "title": "Flood", "status": "published", "breaking": True}

    answer = client.put(f"{API}/articles/1", json=article, headers=bearer)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["url"]
    with db.read() as session:
        assert session.scalars(select(Alert)).all() == []


def test_markup_in_titles_is_text_wherever_it_is_shown(
    app: Flask, client: FlaskClient, db: Database, bearer: dict[str, str]
) -> None:
    article = {
        "url": "https://www.example.com/a",
        "title": MARKUP,
        "summary": MARKUP,
        "status": "published",
        "breaking": True,
    }
    raised = client.put(f"{API}/articles/1", json=article, headers=bearer).json["alert"]["id"]

    recent = client.get(f"{API}/alerts/recent")

    assert recent.content_type == "application/json"
    assert recent.headers["X-Content-Type-Options"] == "nosniff"
    assert json.loads(recent.data)["alerts"][0]["title"] == MARKUP
    editor = EditorsBrowser.signed_in(app, db)
    for path in ("/newsroom/", f"/newsroom/alerts/{raised}"):
        page = editor.open(path).text
        assert str(escape(MARKUP)) in page
        assert "<script>alert" not in page
        assert "<img src=x" not in page

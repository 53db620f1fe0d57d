"""What stands in front of the views: origins, bodies, sizes, rates, headers."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

from notifier import heartbeats
from notifier.config import Settings
from notifier.db import Database
from notifier.models import Program
from web.newsroom.drafts import LONGEST_BODY
from web.security import client_address

URL = "/api/v1/subscriptions"
OWN = "https://www.example.com"
FOREIGN = "https://evil.example"
Maker = Callable[..., dict[str, Any]]
AppMaker = Callable[[Settings], Flask]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Which database lies behind the doors is all the same."""
    return sqlite_url


def test_scripts_of_the_newsrooms_sites_may_call(
    client: FlaskClient, push_subscription: Maker
) -> None:
    preflight = client.options(
        URL, headers={"Origin": OWN, "Access-Control-Request-Method": "POST"}
    )
    call = client.post(URL, json={"subscription": push_subscription()}, headers={"Origin": OWN})
    mistake = client.post(URL, json={}, headers={"Origin": OWN})

    assert preflight.status_code == 204
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert (call.status_code, mistake.status_code) == (201, 422)
    for answer in (preflight, call, mistake):
        assert answer.headers["Access-Control-Allow-Origin"] == OWN
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", [FOREIGN, "null", f"{OWN}.evil.example", OWN.upper(), ""])
def test_other_sites_may_not(client: FlaskClient, push_subscription: Maker, origin: str) -> None:
    browser = push_subscription()
    proof = {"endpoint": browser["endpoint"], "auth": browser["keys"]["auth"]}
    client.post(URL, json={"subscription": browser})
    headers = {"Origin": origin}

    answers = [
        client.options(URL, headers=headers | {"Access-Control-Request-Method": "POST"}),
        client.post(URL, json={"subscription": push_subscription("b")}, headers=headers),
        client.patch(URL, json=proof | {"sections": ["sport"]}, headers=headers),
        client.delete(URL, json=proof, headers=headers),
        client.post(f"{URL}/show", json=proof, headers=headers),
        client.post(f"{URL}/test", json=proof, headers=headers),
        client.post("/api/v1/alerts/1/shown", headers=headers),
        client.post("/api/v1/alerts/1/clicked", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [403] * 8
    for answer in [*answers, client.get("/api/v1/config", headers=headers)]:
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]
    assert answers[1].content_type == "application/problem+json"


@pytest.mark.parametrize("origin", ["http://localhost:8000", "http://localhost"])
def test_the_services_own_pages_may_call(
    client: FlaskClient, push_subscription: Maker, origin: str
) -> None:
    answer = client.post(
        URL, json={"subscription": push_subscription()}, headers={"Origin": origin}
    )

    assert answer.status_code == 201


def test_pages_may_not_call_what_is_for_machines(
    client: FlaskClient, bearer: dict[str, str]
) -> None:
    answer = client.get("/api/v1/alerts/1", headers=bearer | {"Origin": OWN})

    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"language": "\\ud800"}',
        b"[" * 60_000,
        b'{"subscription":' * 3_000,
        b'{"sections": ' + b"9" * 5_000 + b"}",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", URL), ("PATCH", URL), ("DELETE", URL), ("PUT", "/api/v1/articles/1")],
)
def test_a_body_that_is_not_json_is_a_bad_request(
    client: FlaskClient, bearer: dict[str, str], method: str, path: str, body: bytes
) -> None:
    answer = client.open(
        path, method=method, data=body, content_type="application/json", headers=bearer
    )

    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("body", [b"null", b"[]", b"7", b'""', b"{}"])
def test_json_of_another_kind_is_unprocessable(client: FlaskClient, body: bytes) -> None:
    answer = client.post(URL, data=body, content_type="application/json")

    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_only_json_is_read(client: FlaskClient, content_type: str | None) -> None:
    answer = client.post(URL, data=b"{}", content_type=content_type)

    assert answer.status_code == 415
    assert answer.content_type == "application/problem+json"


def test_json_may_name_its_charset(client: FlaskClient, push_subscription: Maker) -> None:
    body = json.dumps({"subscription": push_subscription()})
    answer = client.post(URL, data=body, content_type="application/json; charset=utf-8")

    assert answer.status_code == 201


def test_a_body_is_at_most_64_kib(client: FlaskClient) -> None:
    answer = client.post(URL, data=b" " * (64 * 1024 + 1), content_type="application/json")

    assert answer.status_code == 413
    assert answer.content_type == "application/problem+json"


def test_addresses_and_methods_that_do_not_exist_are_problems_too(client: FlaskClient) -> None:
    missing, wrong = client.get("/api/v1/nothing"), client.get(URL)

    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert missing.content_type == wrong.content_type == "application/problem+json"
    assert missing.json == {
        "title": "Not Found",
        "status": 404,
        "detail": "There is nothing at this address.",
    }
    assert "POST" in wrong.headers["Allow"]


def test_a_hundred_readers_a_minute_behind_one_address_can_opt_in(
    client: FlaskClient, push_subscription: Maker
) -> None:
    answers = [
        client.post(URL, json={"subscription": push_subscription(f"r{number}")})
        for number in range(100)
    ]

    assert {answer.status_code for answer in answers} == {201}


def test_one_address_is_limited_and_told_when_to_come_back(
    settings: Settings, make_app: AppMaker, push_subscription: Maker
) -> None:
    app = make_app(settings.model_copy(update={"opt_in_rate": "3 per minute"}))
    client = app.test_client()

    def opt_in(address: str) -> Any:
        return client.post(
            URL,
            json={"subscription": push_subscription()},
            environ_base={"REMOTE_ADDR": address},
        )

    statuses = [opt_in(f"2001:db8:1:1::{number}").status_code for number in range(1, 5)]
    limited = opt_in("2001:db8:1:1:ffff::1")

    assert 429 not in statuses[:3]
    assert statuses[3] == limited.status_code == 429
    assert limited.content_type == "application/problem+json"
    assert 0 < int(limited.headers["Retry-After"]) <= 60
    assert opt_in("2001:db8:1:2::1").status_code != 429
    assert opt_in("192.0.2.1").status_code != 429


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "local"),
        ("unknown", "unknown"),
    ],
)
def test_whom_a_limit_counts(
    settings: Settings, make_app: AppMaker, address: str, counted: str
) -> None:
    app = make_app(settings)
    with app.test_request_context(environ_base={"REMOTE_ADDR": address}):
        assert client_address() == counted


@pytest.mark.parametrize(("proxies", "counted"), [(0, "127.0.0.1"), (1, "192.0.2.9")])
def test_only_as_many_proxies_are_believed_as_there_are(
    settings: Settings, make_app: AppMaker, proxies: int, counted: str
) -> None:
    app = make_app(settings.model_copy(update={"trusted_proxies": proxies}))
    seen = []
    app.before_request(lambda: seen.append(client_address()))

    app.test_client().get("/healthz", headers={"X-Forwarded-For": "10.9.9.9, 192.0.2.9"})

    assert seen == [counted]


def test_every_answer_carries_the_headers_that_protect_readers_and_editors(
    client: FlaskClient,
) -> None:
    for path in ("/healthz", "/api/v1/config", "/api/v1/docs", "/api/v1/nothing"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers


def test_https_is_insisted_on_where_it_is_used(settings: Settings, make_app: AppMaker) -> None:
    app = make_app(settings.model_copy(update={"public_url": "https://alerts.example.com"}))

    assert "max-age" in app.test_client().get("/healthz").headers["Strict-Transport-Security"]
    assert app.config["SESSION_COOKIE_NAME"].startswith("__Host-")
    assert app.config["SESSION_COOKIE_SECURE"]


def test_health_is_ok_while_the_database_answers(client: FlaskClient) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json["status"]) == (200, "ok")


def test_health_tells_whether_worker_and_clock_are_alive(client: FlaskClient, db: Database) -> None:
    heartbeats.beat(db, Program.CLOCK)

    answer = client.get("/healthz")

    assert answer.status_code == 200, "readers and editors can be served all the same"
    assert (answer.json["clock"], answer.json["worker"]) == ("alive", "silent")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_without_its_database_the_service_says_so_and_promises_nothing(
    settings: Settings, make_app: AppMaker, tmp_path: Path, closed_port: int, kind: str, capsys: Any
) -> None:
    lost = {
        "sqlite": f"sqlite:///{tmp_path / 'nowhere' / 'notifier.sqlite3'}",
        "postgresql": f"postgresql+psycopg://someone:s3cret@127.0.0.1:{closed_port}/nowhere",
    }
    client = make_app(settings.model_copy(update={"database_url": lost[kind]})).test_client()

    answers = [
        client.put("/api/v1/articles/1", json={}, headers={"Authorization": "Bearer x"}),
        client.get("/api/v1/config"),
    ]

    for answer in answers:
        assert answer.status_code == 503
        assert answer.content_type == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert "s3cret" not in answer.text
    assert client.get("/healthz").status_code == 503
    with client.session_transaction() as session:
        session.update(editor=1, since=int(time.time()), csrf_token="a token")
    signer = URLSafeTimedSerializer(client.application.secret_key, salt="wtf-csrf-token")
    form = {"csrf_token": signer.dumps("a token"), "title": "Bridge closed"}
    page = client.post("/newsroom/alerts", data=form)
    assert page.status_code == 503
    assert "nothing was sent; try again" in page.text
    assert "/newsroom/?title=Bridge+closed" in page.text
    assert "s3cret" not in "".join(capsys.readouterr())


def test_a_fault_of_ours_is_a_problem_that_tells_nothing_of_its_cause(
    settings: Settings, make_app: AppMaker
) -> None:
    app = make_app(settings)

    @app.get("/api/v1/faulty")
    def faulty() -> str:
        raise RuntimeError("s3cret")

    answer = app.test_client().get("/api/v1/faulty")

    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("length_is_told", [True, False])
def test_a_real_server_refuses_large_bodies_and_goes_on_answering(
    settings: Settings, serve: Callable[[Settings], str], length_is_told: bool
) -> None:
    server = serve(settings)
    body = b" " * 100_000

    answer = requests.post(
        f"{server}{URL}",
        data=body if length_is_told else iter([body]),  # chunked
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    # On another connection: the server may close this one rather than read such a body.
    after = requests.get(f"{server}/api/v1/config", timeout=30)

    assert (answer.status_code, after.status_code) == (413, 200)


def test_the_text_of_an_alert_finds_room_in_an_address(
    settings: Settings, serve: Callable[[Settings], str]
) -> None:
    """For a page that was left open: signing in comes first, with the text in its address."""
    text = {"title": "س" * 60, "body": "س" * LONGEST_BODY, "url": "https://www.example.com/bridge"}
    answer = requests.get(f"{serve(settings)}/newsroom/", params=text, timeout=30)
    assert answer.status_code == 200
    assert answer.url.count("%25D8%25B3") == 60 + LONGEST_BODY

"""Opting in and what follows, as a browser's script does it."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from notifier.config import Settings
from notifier.db import Database
from notifier.endpoints import endpoint_hash
from notifier.keys import add_vapid_key, token_hash
from notifier.models import Subscription, VapidPublicKey

URL = "/api/v1/subscriptions"
Maker = Callable[..., dict[str, Any]]


def rows(db: Database) -> list[Subscription]:
    with db.read() as session:
        return list(session.scalars(select(Subscription).order_by(Subscription.id)))


def test_config_names_what_a_page_needs_to_subscribe(client: FlaskClient, db: Database) -> None:
    answer = client.get("/api/v1/config")

    with db.read() as session:
        key = session.scalars(select(VapidPublicKey.public_key)).one()
    assert answer.status_code == 200
    assert answer.json == {
        "vapid_public_key": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
        "publication": "The Daily Example",
        "language": "en",
        "hosts": ["www.example.com"],
        "counting": True,
        "sections": [
            {"slug": slug, "name": slug.title()}
            for slug in ("politics", "world", "business", "sport", "culture")
        ],
    }
    assert answer.cache_control.public
    assert 0 < answer.cache_control.max_age <= 300


def test_an_opt_in_is_recorded_once_and_answers_a_token_kept_only_as_a_hash(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    browser = push_subscription()
    body = {"subscription": browser, "sections": ["sport", "Politics"], "language": "en-GB"}

    first = client.post(URL, json=body)
    again = client.post(URL, json={"subscription": browser})

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json is not None
    assert again.json is not None
    for answer in (first.json, again.json):
        assert answer["subscription"]["sections"] == ["politics", "sport"]
        assert answer["subscription"]["language"] == "en-GB"
    (row,) = rows(db)
    assert row.endpoint == browser["endpoint"]
    assert row.management_token_hash == token_hash(again.json["management_token"])
    assert len(base64.urlsafe_b64decode(again.json["management_token"] + "==")) == 16
    assert first.headers["Cache-Control"] == "no-store"


def test_a_known_endpoint_with_other_keys_is_refused(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    client.post(URL, json={"subscription": push_subscription("same")})
    before = rows(db)[0].p256dh

    answer = client.post(URL, json={"subscription": push_subscription("same")})

    assert answer.status_code == 409
    assert answer.content_type == "application/problem+json"
    assert "other keys" in answer.json["detail"]
    assert [row.p256dh for row in rows(db)] == [before]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sections": ["astrology"]}, "sections"),
        ({"language": "en_GB"}, "language"),
        ({"sections": "sport"}, "sections"),
        ({"sections": ["\0"]}, "sections.0"),
        ({"topics": []}, "topics"),
        ({"vapid_public_key": "AAAA"}, "vapid_public_key"),
        ({"subscription": {"endpoint": "https://push.evil.example/x"}}, "subscription.endpoint"),
        (
            {"subscription": {"endpoint": "http://127.0.0.1:1\\@fcm.googleapis.com/x"}},
            "subscription.endpoint",
        ),
        ({"subscription": {"endpoint": 7}}, "subscription.endpoint"),
        ({"subscription": {"keys": {"p256dh": "BA"}}}, "subscription.keys.p256dh"),
        ({"subscription": {"keys": {"auth": "AAAA"}}}, "subscription.keys.auth"),
        ({"subscription": {"keys": {"auth": None}}}, "subscription.keys.auth"),
        ({"subscription": {"keys": None}}, "subscription.keys"),
        ({"subscription": None}, "subscription"),
    ],
)
def test_what_cannot_be_accepted_is_named_and_never_repeated(
    client: FlaskClient,
    db: Database,
    push_subscription: Maker,
    change: dict[str, Any],
    field: str,
) -> None:
    body: dict[str, Any] = {"subscription": push_subscription("s3cret")}
    for name, value in change.items():
        if name == "subscription" and value is not None:
            keys = body[name]["keys"]
            body[name] |= value
            if value.get("keys"):
                body[name]["keys"] = keys | value["keys"]
        else:
            body[name] = value

    answer = client.post(URL, json=body)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert field in [error["field"] for error in answer.json["errors"]]
    assert all(error["message"] for error in answer.json["errors"])
    assert "s3cret" not in answer.text
    assert "evil" not in answer.text
    assert rows(db) == []


def test_a_key_that_was_replaced_meanwhile_is_remembered_with_the_subscription(
    client: FlaskClient, db: Database, settings: Settings, push_subscription: Maker
) -> None:
    old = client.get("/api/v1/config").json["vapid_public_key"]
    add_vapid_key(db, settings.home)
    body = {"subscription": push_subscription(), "vapid_public_key": old}

    assert client.post(URL, json=body).status_code == 201
    assert client.post(URL, json={"subscription": push_subscription("b")}).status_code == 201

    assert [row.vapid_key_id for row in rows(db)] == [1, 2]
    stranger = push_subscription("c")
    body = {"subscription": stranger, "vapid_public_key": stranger["keys"]["p256dh"]}
    refused = client.post(URL, json=body)
    assert refused.status_code == 422
    assert refused.json["errors"][0]["field"] == "vapid_public_key"


def test_sections_and_language_change_with_either_proof(
    client: FlaskClient, push_subscription: Maker
) -> None:
    browser = push_subscription()
    token = client.post(URL, json={"subscription": browser}).json["management_token"]
    by_secrets = {"endpoint": browser["endpoint"], "auth": browser["keys"]["auth"]}

    first = client.patch(URL, json=by_secrets | {"sections": ["world"], "language": "de"})
    second = client.patch(URL, json={"management_token": token, "sections": []})

    assert first.status_code == second.status_code == 200
    assert _choices(first) == (["world"], "de")
    assert _choices(second) == ([], "de")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_whoever_proves_nothing_finds_nothing(
    client: FlaskClient, db: Database, push_subscription: Maker, method: str
) -> None:
    browser = push_subscription()
    client.post(URL, json={"subscription": browser})
    stranger = push_subscription("stranger")
    proofs = [
        {"management_token": "guessed"},
        {"endpoint": browser["endpoint"], "auth": stranger["keys"]["auth"]},
        {"endpoint": browser["endpoint"], "auth": "not base64"},
        {"endpoint": stranger["endpoint"], "auth": browser["keys"]["auth"]},
        {"endpoint": "nonsense", "auth": browser["keys"]["auth"]},
    ]

    answers = [client.open(URL, method=method, json=proof) for proof in proofs]

    assert [answer.status_code for answer in answers] == [404] * len(proofs)
    assert len({answer.data for answer in answers}) == 1
    assert client.open(URL, method=method, json={}).status_code == 422
    assert len(rows(db)) == 1


def test_opting_out_deletes_the_row(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    browser = push_subscription()
    client.post(URL, json={"subscription": browser})
    proof = {"endpoint": browser["endpoint"], "auth": browser["keys"]["auth"] + "=="}

    answer = client.delete(URL, json=proof)

    assert (answer.status_code, answer.data) == (204, b"")
    assert rows(db) == []
    assert client.delete(URL, json=proof).status_code == 404


def test_a_reader_of_a_push_service_that_is_no_longer_accepted_can_still_leave(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    browser = push_subscription()
    client.post(URL, json={"subscription": browser})
    with db.write() as session:
        row = session.scalars(select(Subscription)).one()
        row.endpoint = "http://localhost:9999/wpush/1"
        row.endpoint_hash = endpoint_hash(row.endpoint)

    proof = {"endpoint": "http://localhost:9999/wpush/1", "auth": browser["keys"]["auth"]}
    assert client.delete(URL, json=proof).status_code == 204


def test_with_proof_of_the_old_one_choices_and_token_move_to_the_new_endpoint(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    old, new, newer = (push_subscription(name) for name in ("old", "new", "newer"))
    choices = {"sections": ["sport"], "level": "updates", "language": "de"}
    token = client.post(URL, json={"subscription": old} | choices).json["management_token"]
    before = rows(db)[0].id

    by_token = {"old": {"management_token": token}, "subscription": new}
    moved = client.post(URL, json=by_token)
    again = client.post(URL, json=by_token)
    by_secrets = {"old": {"endpoint": new["endpoint"], **new["keys"]}, "subscription": newer}
    moved_on = client.post(URL, json=by_secrets | {"level": "biggest"})

    for answer, level in ((moved, "updates"), (again, "updates"), (moved_on, "biggest")):
        assert answer.status_code == 200
        held = answer.json["subscription"]
        assert (held["sections"], held["level"], held["language"]) == (["sport"], level, "de")
    assert moved.json["management_token"] == again.json["management_token"] == token
    assert moved_on.json["management_token"] != token
    (row,) = rows(db)
    assert (row.id, row.endpoint) == (before, newer["endpoint"])
    assert row.management_token_hash == token_hash(moved_on.json["management_token"])


def test_a_row_that_the_service_has_lost_is_made_again(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    lost = {"management_token": "of a row that is no more"}
    body = {"subscription": push_subscription(), "old": lost, "sections": ["sport"]}

    answer = client.post(URL, json=body)

    assert answer.status_code == 201
    assert _choices(answer) == (["sport"], None)
    assert len(rows(db)) == 1


@pytest.mark.parametrize("missing", ["endpoint", "auth", "p256dh"])
def test_what_a_browser_had_before_is_proved_whole_or_by_token(
    client: FlaskClient, db: Database, push_subscription: Maker, missing: str
) -> None:
    old = push_subscription("old")
    client.post(URL, json={"subscription": old})
    proof = {"endpoint": old["endpoint"], **old["keys"]}
    del proof[missing]

    answer = client.post(URL, json={"subscription": push_subscription("new"), "old": proof})

    assert answer.status_code == 422
    assert [row.endpoint for row in rows(db)] == [old["endpoint"]]


def test_nobody_takes_over_what_they_do_not_prove(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    mine, other = push_subscription("mine"), push_subscription("other")
    for browser in (mine, other):
        client.post(URL, json={"subscription": browser})
    whole = {"endpoint": mine["endpoint"], **mine["keys"]}
    wrong = {"endpoint": other["endpoint"], **mine["keys"]}
    half_wrong = {"endpoint": other["endpoint"], **other["keys"], "auth": mine["keys"]["auth"]}
    others_endpoint = mine | {"endpoint": other["endpoint"]}

    stolen = client.post(URL, json={"subscription": others_endpoint, "old": whole})
    new = [
        client.post(URL, json={"subscription": push_subscription(f"n{number}"), "old": proof})
        for number, proof in enumerate((wrong, half_wrong, {"management_token": ""}))
    ]

    assert stolen.status_code == 409
    assert [answer.status_code for answer in new] == [201] * 3, "proves nothing: a new reader"
    assert [row.endpoint for row in rows(db)][:2] == [mine["endpoint"], other["endpoint"]]


def _choices(answer: Any) -> tuple[list[str], str | None]:
    held = answer.json["subscription"]
    return held["sections"], held["language"]

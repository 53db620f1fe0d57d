"""What a reader's panel asks of the service: show, change, test; and what pages ask of alerts."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from notifier import alerts, sections
from notifier.alerts import Draft
from notifier.config import Settings
from notifier.db import Database
from notifier.models import Alert, AlertKind, Level, OwnMessage, ReactionCount, Subscription

URL = "/api/v1/subscriptions"
OWN_SITE = {"Origin": "https://www.example.com"}
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
Maker = Callable[..., dict[str, Any]]


def release(db: Database, title: str = "Flood", **options: Any) -> Alert:
    draft = Draft(
        title=title,
        body="Two villages are cut off.",
        url="https://www.example.com/a",
        kind=options.pop("kind", AlertKind.BREAKING),
    )
    options = {"validity": timedelta(hours=1), "count_reactions": True} | options
    with db.write() as session:
        return alerts.release(session, draft, released_by="test", **options)


@pytest.fixture
def opted_in(client: FlaskClient, push_subscription: Maker) -> dict[str, Any]:
    """A reader's subscription and both proofs of it."""
    browser = push_subscription()
    answer = client.post(URL, json={"subscription": browser, "sections": ["sport"]})
    assert answer.json is not None
    return {
        "browser": browser,
        "by_token": {"management_token": answer.json["management_token"]},
        "by_secrets": {"endpoint": browser["endpoint"], **browser["keys"]},
    }


def test_a_reader_sees_all_that_is_held_of_them(
    client: FlaskClient, opted_in: dict[str, Any]
) -> None:
    answers = [
        client.post(f"{URL}/show", json=opted_in[proof]) for proof in ("by_token", "by_secrets")
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    held = answers[0].json["subscription"]
    assert held == answers[1].json["subscription"]
    moments = {name: held.pop(name) for name in ("created_at", "last_seen_at")}
    assert held == {
        "sections": ["sport"],
        "level": "breaking",
        "language": None,
        "paused_until": None,
        "muted": [],
        "push_service": "mozilla",
        "endpoint": opted_in["browser"]["endpoint"],
    }
    for moment in moments.values():
        assert datetime.now(UTC) - datetime.fromisoformat(moment) < timedelta(minutes=1)
    assert answers[0].headers["Cache-Control"] == "no-store"


def test_a_reader_changes_level_pause_and_stories(
    client: FlaskClient, db: Database, opted_in: dict[str, Any]
) -> None:
    alert = release(db, "<b>Flood</b>")
    story = f"story-{alert.story_id}"

    def change(**wanted: str) -> dict[str, Any]:
        answer = client.patch(URL, json=opted_in["by_token"] | wanted)
        assert answer.status_code == 200
        held: dict[str, Any] = answer.json["subscription"]
        return held

    assert change(level="updates")["level"] == "updates"
    paused = datetime.fromisoformat(change(pause="week")["paused_until"])
    assert timedelta(days=6) < paused - datetime.now(UTC) <= timedelta(days=7)
    assert change(mute=story)["muted"] == [{"story": story, "title": "<b>Flood</b>"}]
    held = change(unmute=story, pause="off", level="biggest")
    assert (held["muted"], held["paused_until"], held["level"]) == ([], None, "biggest")
    assert held["sections"] == ["sport"]
    with db.read() as session:
        assert session.scalars(select(Subscription)).one().level == Level.BIGGEST


@pytest.mark.parametrize(
    "change",
    [
        {"level": "everything"},
        {"level": 2},
        {"level": "BIGGEST"},
        {"pause": "year"},
        {"pause": 1},
        {"mute": "7"},
        {"mute": "story-0"},
        {"mute": "story--1"},
        {"mute": "story-999999999"},
        {"mute": "story-1\n"},
        {"unmute": "story-\u0661"},
        {"unmute": f"story-{10**19}"},
        {"paused_until": "2030-01-01T00:00:00Z"},
    ],
)
def test_what_cannot_be_chosen_is_refused(
    client: FlaskClient, opted_in: dict[str, Any], change: dict[str, Any]
) -> None:
    answer = client.patch(URL, json=opted_in["by_token"] | change)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == list(change)


def test_who_chose_what_is_no_longer_offered_is_not_taken_for_who_chose_nothing(
    client: FlaskClient, db: Database, opted_in: dict[str, Any]
) -> None:
    with db.write() as session:
        sections.sync(session, ["World"])

    held = client.post(f"{URL}/show", json=opted_in["by_token"]).json["subscription"]
    again = client.post(
        URL, json={"subscription": opted_in["browser"], "sections": held["sections"]}
    )

    assert held["sections"] == ["sport"]
    assert again.json["subscription"]["sections"] == ["sport"]
    offered = client.get("/api/v1/config").json["sections"]
    assert [section["slug"] for section in offered] == ["world"]


def test_a_welcome_is_owed_once_and_a_test_whenever_it_is_asked_for(
    client: FlaskClient, db: Database, push_subscription: Maker
) -> None:
    def owed() -> OwnMessage | None:
        with db.read() as session:
            return session.scalars(select(Subscription)).one().owed

    body = {"subscription": push_subscription(), "welcome": True}
    token = client.post(URL, json=body).json["management_token"]
    assert owed() == OwnMessage.WELCOME
    with db.write() as session:
        session.scalars(select(Subscription)).one().owed = None
    token = client.post(URL, json=body).json["management_token"]
    assert owed() is None

    answer = client.post(f"{URL}/test", json={"management_token": token})

    assert (answer.status_code, answer.data) == (202, b"")
    assert owed() == OwnMessage.TEST


def test_a_test_of_an_endpoint_that_is_no_more_is_refused(
    client: FlaskClient, db: Database, opted_in: dict[str, Any]
) -> None:
    with db.write() as session:
        session.scalars(select(Subscription)).one().gone_at = datetime.now(UTC)

    assert client.post(f"{URL}/test", json=opted_in["by_secrets"]).status_code == 409


def test_tests_are_few_a_minute(client: FlaskClient, opted_in: dict[str, Any]) -> None:
    def ask(address: str = "192.0.2.1") -> int:
        return client.post(
            f"{URL}/test", json=opted_in["by_secrets"], environ_base={"REMOTE_ADDR": address}
        ).status_code

    assert [ask() for _ in range(7)] == [202] * 6 + [429]
    assert ask("192.0.2.2") == 202


def test_pages_read_what_was_sent_lately(client: FlaskClient, db: Database) -> None:
    first = release(db, "Flood <script>")
    release(db, "Wrong")
    withdrawn = release(db, "To be withdrawn")
    release(db, "We withdraw", story_id=withdrawn.story_id, kind=AlertKind.WITHDRAWAL)
    corrected = release(db, "7 dead", story_id=first.story_id, kind=AlertKind.CORRECTION)
    with db.write() as session:
        wrong = session.scalars(select(Alert).where(Alert.title == "Wrong")).one()
        alerts.stop(session, wrong.id)

    answer = client.get("/api/v1/alerts/recent", headers=OWN_SITE)

    assert answer.status_code == 200
    assert answer.cache_control.public
    assert answer.cache_control.max_age == 60
    assert answer.headers["Access-Control-Allow-Origin"] == OWN_SITE["Origin"]
    shown = answer.json["alerts"]
    assert [one["title"] for one in shown] == ["Correction: 7 dead", "We withdraw"]
    assert shown[0] | {"released_at": None} == {
        "alert": str(corrected.id),
        "story": f"story-{first.story_id}",
        "kind": "correction",
        "title": "Correction: 7 dead",
        "body": "Two villages are cut off.",
        "url": "https://www.example.com/a",
        "image": None,
        "released_at": None,
    }


def test_at_most_twenty_alerts_are_recent(client: FlaskClient, db: Database) -> None:
    ids = [str(release(db).id) for _ in range(22)]

    shown = client.get("/api/v1/alerts/recent").json["alerts"]

    assert [one["alert"] for one in shown] == ids[:1:-1]


def counted(app: Flask, db: Database) -> list[tuple[int, str, str, int]]:
    app.extensions["notifier"].reactions.save()
    with db.read() as session:
        rows = session.scalars(select(ReactionCount).order_by(ReactionCount.reaction))
        return [(row.alert_id, row.reaction.value, row.browser, row.reports) for row in rows]


def test_browsers_report_without_body_or_preflight(
    app: Flask, client: FlaskClient, db: Database
) -> None:
    alert = release(db)
    url = f"/api/v1/alerts/{alert.id}"

    answers = [
        client.post(f"{url}/shown", headers=OWN_SITE | FIREFOX),
        client.post(f"{url}/shown", content_type="text/plain", headers=FIREFOX),
        client.post(f"{url}/clicked", headers=FIREFOX, environ_base={"REMOTE_ADDR": "::1"}),
    ]

    assert [answer.status_code for answer in answers] == [204] * 3
    assert counted(app, db) == [
        (alert.id, "clicked", "firefox", 1),
        (alert.id, "shown", "firefox", 2),
    ]


def test_what_is_not_counted_is_not_found(
    app: Flask, client: FlaskClient, db: Database, settings: Settings, make_app: Any
) -> None:
    alert, uncounted = release(db), release(db, count_reactions=False)
    silent = make_app(settings.model_copy(update={"count_reactions": False})).test_client()

    answers = [
        client.post(f"/api/v1/alerts/{uncounted.id}/shown"),
        client.post("/api/v1/alerts/4711/clicked"),
        silent.post(f"/api/v1/alerts/{alert.id}/shown"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3
    assert counted(app, db) == []
    assert silent.get("/api/v1/config").json["counting"] is False


def test_reports_of_a_campus_behind_one_address_are_all_counted(
    app: Flask, client: FlaskClient, db: Database
) -> None:
    alert = release(db)

    answers = {client.post(f"/api/v1/alerts/{alert.id}/shown").status_code for _ in range(700)}

    assert answers == {204}
    assert counted(app, db) == [(alert.id, "shown", "other", 700)]
    proof = {"management_token": "guessed"}
    assert client.post(f"{URL}/show", json=proof).status_code == 404, "a limit of its own"


def test_reports_name_nobody_in_the_log(
    client: FlaskClient, db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    alert = release(db)
    capsys.readouterr()

    client.post(f"/api/v1/alerts/{alert.id}/shown", headers=FIREFOX)
    client.post(
        "/api/v1/alerts/99/shown", headers=FIREFOX, environ_base={"REMOTE_ADDR": "192.0.2.7"}
    )

    said = json.dumps(capsys.readouterr())
    assert "192.0.2.7" not in said
    assert "Firefox" not in said

"""Welcome and test: sent once to one reader, through the real sender to a local push service."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from newsroom import APPEARANCE, Newsroom
from publication import HOUR
from sqlalchemy import event, select, text
from together import together

from notifier import own_messages, push_services, subscriptions
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.errors import Conflict
from notifier.models import DoubtfulGone, OpenBreaker, OwnMessage, Subscription
from notifier.own_messages import WORTH_FOR, OwnMessages, Publication, render_own
from notifier.proofs import Proof
from notifier.subscriptions import BrowserSubscription

MINUTE = timedelta(minutes=1)
PAPER = Publication("The Daily Example", "https://www.example.com")


@pytest.fixture
def own(newsroom: Newsroom) -> OwnMessages:
    return OwnMessages(newsroom.db, newsroom.sender, APPEARANCE, PAPER)


def welcome(newsroom: Newsroom, count: int = 1, **choices: Any) -> Sequence[BrowserSubscription]:
    """Readers who have just opted in and are owed a welcome."""
    browsers = newsroom.browsers(count, keep=True)
    for browser in browsers:
        with newsroom.db.write() as session:
            subscriptions.opt_in(session, browser, welcome=True, **choices)
    return browsers


def received(newsroom: Newsroom, browser: BrowserSubscription) -> list[dict[str, Any]]:
    return newsroom.control.messages(browser.endpoint.url)


def row(newsroom: Newsroom) -> Subscription:
    with newsroom.db.read() as session:
        return session.scalars(select(Subscription)).one()


def is_due(newsroom: Newsroom) -> bool:
    with newsroom.db.read() as session:
        return own_messages.is_due(session)


def open_breaker(newsroom: Newsroom) -> None:
    with newsroom.db.write() as session:
        push_services.open_breaker(session, newsroom.control.origin, "test")


def let_probe(newsroom: Newsroom) -> None:
    """Have it that the breaker's pause is over."""
    with newsroom.db.write() as session:
        breaker = session.scalars(select(OpenBreaker)).one()
        breaker.probe_at = now_of(session) - MINUTE


def test_a_reader_is_welcomed_once_in_their_language(newsroom: Newsroom, own: OwnMessages) -> None:
    (browser,) = welcome(newsroom, language="de-AT")
    assert is_due(newsroom)

    assert own.send_some()

    assert not own.send_some()
    assert not is_due(newsroom)
    (message,) = received(newsroom, browser)
    notification = json.loads(message["data"])["notification"]
    assert notification["lang"] == "de-AT"
    assert "Willkommen" in notification["title"]
    assert "The Daily Example" in notification["title"]
    assert notification["tag"] == "welcome"
    assert notification["actions"] == []
    assert notification["icon"] == APPEARANCE.icon
    data = notification["data"]
    assert {data["kind"], data["alert"], data["story"]} == {"welcome"}
    assert data["url"] == PAPER.home_url
    assert "count" not in data
    assert message["topic"] == "welcome"
    assert WORTH_FOR - MINUTE <= timedelta(seconds=message["ttl"]) <= WORTH_FOR


def test_a_test_comes_as_often_as_it_is_asked_for(newsroom: Newsroom, own: OwnMessages) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    proof = Proof(endpoint=browser.endpoint.url, auth=browser.auth)
    for _ in range(2):
        with newsroom.db.write() as session:
            subscriptions.ask_for_test(session, proof)
        own.send_some()

    kinds = [json.loads(one["data"])["notification"]["data"] for one in received(newsroom, browser)]
    assert [data["kind"] for data in kinds] == ["test", "test"]


def test_many_are_welcomed_in_groups_and_by_processes_at_once(
    newsroom: Newsroom, settings: Settings
) -> None:
    browsers = welcome(newsroom, own_messages.AT_ONCE + 20)

    def work(_: int) -> None:
        other = Newsroom(Database(settings.database), settings, newsroom.control)
        try:
            mine = OwnMessages(other.db, other.sender, APPEARANCE, PAPER)
            while mine.send_some():
                pass
        finally:
            other.close()
            other.db.close()

    together(3, work)

    assert not is_due(newsroom)
    report = newsroom.control.report()
    assert report["requests"] == report["accepted_readers"] == len(browsers)


def test_an_endpoint_that_is_no_more_is_deactivated_at_once(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom)
    newsroom.control.set_faults([{"status": 410}])

    own.send_some()

    assert row(newsroom).gone_at is not None
    assert not is_due(newsroom)
    gone = Proof(endpoint=row(newsroom).endpoint, auth=row(newsroom).auth)
    with newsroom.db.write() as session, pytest.raises(Conflict):
        subscriptions.ask_for_test(session, gone)


def test_a_push_service_whose_410s_are_doubted_deactivates_nobody(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom)
    alert = newsroom.release()
    with newsroom.db.write() as session:
        session.add(
            DoubtfulGone(
                subscription_id=0,
                endpoint_hash=bytes(32),
                push_service=newsroom.control.origin,
                alert_id=alert.id,
                answered_at=now_of(session),
            )
        )
    newsroom.control.set_faults([{"status": 410}])

    own.send_some()

    assert row(newsroom).gone_at is None
    assert not is_due(newsroom)


@pytest.mark.parametrize("fault", [{"status": 429, "retry_after": "60"}, {"status": 503}])
def test_a_push_service_that_does_not_take_it_is_asked_again_when_it_wants(
    newsroom: Newsroom, own: OwnMessages, fault: dict[str, Any]
) -> None:
    (browser,) = welcome(newsroom)
    newsroom.control.set_faults([fault | {"times": 1}])

    own.send_some()

    held = row(newsroom)
    assert held.owed == OwnMessage.WELCOME
    assert held.hold_until is not None
    assert held.hold_until > held.last_seen_at + timedelta(seconds=20)
    assert not is_due(newsroom), "nobody rings for what may not be sent yet"
    assert not own.send_some()
    with newsroom.changing(held) as later:
        later.hold_until -= HOUR
    assert own.send_some()
    assert len(received(newsroom, browser)) == 1
    assert row(newsroom).owed is None


def test_what_may_have_arrived_is_not_sent_again(newsroom: Newsroom, own: OwnMessages) -> None:
    welcome(newsroom)
    newsroom.control.set_faults([{"harm": "dropped", "times": 1}])

    own.send_some()

    assert not is_due(newsroom)
    assert row(newsroom).owed is None


def test_what_comes_too_late_is_not_sent(newsroom: Newsroom, own: OwnMessages) -> None:
    welcome(newsroom)
    with newsroom.changing(row(newsroom)) as long_ago:
        long_ago.last_seen_at -= WORTH_FOR

    assert own.send_some()

    assert newsroom.control.report()["requests"] == 0
    assert row(newsroom).owed is None


def test_a_push_service_whose_breaker_is_open_is_left_alone_until_it_may_be_probed(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom, 3)
    open_breaker(newsroom)
    assert not is_due(newsroom)
    assert not own.send_some()

    let_probe(newsroom)
    assert own.send_some()
    assert newsroom.control.report()["requests"] == 1, "one message tries"
    assert own.send_some()
    assert newsroom.control.report()["accepted"] == 3, "and as it was taken, the others go out"
    assert not is_due(newsroom)


def test_a_probe_that_fails_leaves_the_push_service_alone_for_longer(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom, 3)
    open_breaker(newsroom)
    newsroom.control.set_faults([{"status": 503}])
    let_probe(newsroom)

    assert own.send_some()

    assert newsroom.control.report()["requests"] == 1
    assert not is_due(newsroom)
    with newsroom.db.read() as session:
        assert session.scalars(select(OpenBreaker.openings)).one() == 2


def test_who_does_not_win_the_probe_sends_nothing(
    newsroom: Newsroom, own: OwnMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    welcome(newsroom)
    open_breaker(newsroom)
    let_probe(newsroom)
    monkeypatch.setattr("notifier.push_services.win_probe", lambda *_: False)

    own.send_some()

    assert newsroom.control.report()["requests"] == 0
    assert row(newsroom).owed == OwnMessage.WELCOME, "it still comes"


def test_a_probe_that_could_not_be_sent_says_nothing_of_the_push_service(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom)
    with newsroom.changing(row(newsroom)) as damaged:
        damaged.p256dh = b"\x04" + bytes(64)
    open_breaker(newsroom)
    let_probe(newsroom)

    own.send_some()

    with newsroom.db.read() as session:
        assert session.scalars(select(OpenBreaker.openings)).one() == 1


def test_a_push_service_that_is_left_alone_does_not_hold_up_another(
    newsroom: Newsroom, own: OwnMessages
) -> None:
    welcome(newsroom)
    with newsroom.db.write() as session:
        push_services.open_breaker(session, "fcm", "test")

    assert own.send_some()

    assert newsroom.control.report()["accepted"] == 1


def test_who_has_opted_out_or_moved_meanwhile_is_left_as_they_are(
    newsroom: Newsroom, own: OwnMessages, other_db: Database
) -> None:
    left, moved = welcome(newsroom, 2)
    (new,) = newsroom.browsers(1)
    newsroom.control.set_faults([{"status": 410}])
    send = own._send

    def meanwhile(owed: Any) -> Any:
        with other_db.write() as session:
            subscriptions.opt_out(session, Proof(endpoint=left.endpoint.url, auth=left.auth))
            old = Proof(endpoint=moved.endpoint.url, auth=moved.auth, p256dh=moved.p256dh)
            subscriptions.opt_in(session, new, old=old)
        return send(owed)

    own._send = meanwhile  # type: ignore[method-assign]
    own.send_some()

    assert row(newsroom).endpoint == new.endpoint.url
    assert row(newsroom).gone_at is None, "the late 410 is for the endpoint that it gave up"


def test_apple_gets_the_form_that_safari_shows_by_itself(db: Database) -> None:
    with db.read() as session:
        now = now_of(session)
    rendered = json.loads(render_own(OwnMessage.TEST, APPEARANCE, PAPER, now, declarative=True))

    assert rendered["web_push"] == 8030
    assert rendered["notification"]["navigate"] == PAPER.home_url


def test_without_phrases_in_the_readers_language_the_publications_is_used(db: Database) -> None:
    with db.read() as session:
        now = now_of(session)

    def language(given: str | None) -> str:
        rendered = render_own(OwnMessage.TEST, APPEARANCE, PAPER, now, language=given)
        return str(json.loads(rendered)["notification"]["lang"])

    assert [language(one) for one in (None, "tlh", "ar")] == ["en", "en", "ar"]


def test_what_is_owed_is_found_by_its_index(newsroom: Newsroom, own: OwnMessages) -> None:
    """However many subscriptions there are: whoever writes to SQLite waits for it meanwhile."""
    welcome(newsroom)
    db, asked = newsroom.db, []
    listen = (db.engine, "before_cursor_execute")

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "owed IS NOT NULL" in statement:
            asked.append((statement, parameters))

    event.listen(*listen, note)
    try:
        assert own.send_some()
    finally:
        event.remove(*listen, note)

    assert len(asked) == 2  # whether there is something, and then what
    with db.read() as session:
        explain = "EXPLAIN QUERY PLAN " if db.is_sqlite else "EXPLAIN "
        if not db.is_sqlite:  # with so few rows it would rather read them all
            session.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, given in asked:
            rows = session.connection().exec_driver_sql(explain + statement, given)
            plan = "\n".join(str(row[-1]) for row in rows)
            assert "ix_subscriptions_owed" in plan

"""Opting in, changing, opting out; see test_moving for browsers that get another endpoint."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from publication import Publication, browser
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from together import together

from notifier import keys, subscriptions
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.errors import Conflict, InvalidInput, NotFound
from notifier.models import MutedStory, OwnMessage, Subscription
from notifier.proofs import Proof
from notifier.subscriptions import BrowserSubscription, OptIn, Pause


def opt_in(db: Database, subscription: BrowserSubscription, **choices: Any) -> OptIn:
    with db.write() as session:
        return subscriptions.opt_in(session, subscription, **choices)


def rows(db: Database) -> list[Subscription]:
    with db.read() as session:
        return list(session.scalars(select(Subscription).order_by(Subscription.id)))


def proof_of(subscription: BrowserSubscription) -> Proof:
    return Proof(endpoint=subscription.endpoint.url, auth=subscription.auth)


def test_an_opt_in_is_recorded(db: Database) -> None:
    reader = browser()

    recorded = opt_in(db, reader, sections=["Sport", "world"], language="de")

    (row,) = rows(db)
    assert recorded.created
    assert row.id == recorded.subscription.id
    assert (row.endpoint, row.p256dh, row.auth) == (
        reader.endpoint.url,
        reader.p256dh,
        reader.auth,
    )
    assert row.push_service == "mozilla"
    assert row.language == "de"
    assert row.gone_at is None
    assert row.created_at == row.last_seen_at


def test_a_known_endpoint_with_the_same_keys_is_the_same_subscription(db: Database) -> None:
    reader = browser()
    first = opt_in(db, reader, sections=["sport"], language="de")
    with db.write() as session:
        session.get_one(Subscription, first.subscription.id).gone_at = now_of(session)

    second = opt_in(db, reader)

    (row,) = rows(db)
    assert not second.created
    assert row.id == first.subscription.id
    assert row.gone_at is None, "who opts in again is there again"
    assert row.sections == first.subscription.sections, "what is left out stays"
    assert row.language == "de"
    assert opt_in(db, reader, sections=[]).subscription.sections == 0


def test_the_token_that_was_told_last_is_the_valid_one(db: Database) -> None:
    reader = browser()
    first = opt_in(db, reader).management_token
    second = opt_in(db, reader).management_token

    with db.read() as session:
        assert subscriptions.find(session, Proof(management_token=second)).auth == reader.auth
        with pytest.raises(NotFound):
            subscriptions.find(session, Proof(management_token=first))


@pytest.mark.parametrize("change", [{"auth": b"another auth key"}, {"p256dh": b"\x04" * 65}])
def test_a_known_endpoint_with_other_keys_is_refused(
    db: Database, change: dict[str, bytes]
) -> None:
    opt_in(db, browser("same"))
    before = rows(db)[0].management_token_hash

    with pytest.raises(Conflict):
        opt_in(db, browser("same", **change))

    assert rows(db)[0].management_token_hash == before


def test_twenty_opt_ins_of_one_endpoint_at_once_make_one_row(
    db: Database, settings: Settings
) -> None:
    reader = browser()

    recorded = together(20, lambda _: opt_in(db, reader))

    assert len(rows(db)) == 1
    assert [one.created for one in recorded].count(True) == 1


def test_readers_who_opt_in_at_once_all_get_a_row(db: Database) -> None:
    recorded = together(20, lambda _: opt_in(db, browser()))

    assert len({one.subscription.id for one in recorded}) == 20


def test_only_a_hash_of_the_token_is_kept(db: Database, settings: Settings) -> None:
    token = opt_in(db, browser()).management_token

    assert token is not None
    assert len(token) >= 22  # 128 bits
    with db.read() as session:
        stored = session.execute(text("SELECT * FROM subscriptions")).one()
    assert all(token not in str(value) and token.encode() not in _raw(value) for value in stored)
    assert keys.token_hash(token) in [_raw(value) for value in stored]


def _raw(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


@pytest.mark.parametrize("choice", [{"sections": ["gardening"]}, {"sections": ["sport", ""]}])
def test_a_section_that_is_not_offered_is_refused(db: Database, choice: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        opt_in(db, browser(), **choice)

    assert refused.value.field == "sections"
    assert "politics, world" in str(refused.value)
    assert rows(db) == []


def test_a_vapid_key_that_is_not_ours_is_refused(db: Database) -> None:
    with pytest.raises(InvalidInput) as refused:
        opt_in(db, browser(vapid_public_key=b"\x04" * 65))

    assert refused.value.field == "vapid_public_key"


def test_a_subscription_remembers_the_key_it_was_made_with(
    db: Database, settings: Settings
) -> None:
    old = keys.ensure_vapid_key(db, settings.home)
    new = keys.add_vapid_key(db, settings.home)

    assert opt_in(db, browser()).subscription.vapid_key_id == new.id
    made_with_old = opt_in(db, browser(vapid_public_key=old.public_key))
    assert made_with_old.subscription.vapid_key_id == old.id


def test_changing_what_one_wants(db: Database) -> None:
    reader = browser()
    token = opt_in(db, reader, sections=["sport"], language="de").management_token

    for proof in (proof_of(reader), Proof(management_token=token)):
        with db.write() as session:
            subscriptions.change(session, proof, sections=["world", "sport"])
        assert bin(rows(db)[0].sections).count("1") == 2
        with db.write() as session:
            subscriptions.change(session, proof, language="fr")
        assert rows(db)[0].language == "fr"
        assert bin(rows(db)[0].sections).count("1") == 2
        with db.write() as session:
            subscriptions.change(session, proof, sections=[], language="de")
        assert (rows(db)[0].sections, rows(db)[0].language) == (0, "de")


def test_opting_out_deletes_everything(db: Database) -> None:
    reader = browser()
    opt_in(db, reader)

    with db.write() as session:
        subscriptions.opt_out(session, proof_of(reader))

    assert rows(db) == []


ACTIONS: list[Callable[[Session, Proof], object]] = [
    subscriptions.find,
    lambda session, proof: subscriptions.change(session, proof, language="xx"),
    subscriptions.ask_for_test,
    subscriptions.opt_out,
]


@pytest.mark.parametrize("act", ACTIONS)
def test_every_proof_that_fails_gets_the_same_answer(
    db: Database, act: Callable[[Session, Proof], object]
) -> None:
    reader = browser()
    opt_in(db, reader)
    before = rows(db)[0].endpoint
    wrong = [
        Proof(endpoint=reader.endpoint.url, auth=b"not its auth key"),
        Proof(endpoint=reader.endpoint.url, auth=b""),
        Proof(endpoint=f"{reader.endpoint.url}x", auth=reader.auth),
        Proof(endpoint=reader.endpoint.url, auth=reader.auth, p256dh=b"\x04" * 65),
        Proof(endpoint=reader.endpoint.url, auth=reader.auth, p256dh=b""),
        Proof(management_token=""),
        Proof(management_token="x" * 22),
        Proof(management_token="wrong", endpoint=reader.endpoint.url, auth=reader.auth),
    ]

    answers = set()
    for proof in wrong:
        with db.write() as session, pytest.raises(NotFound) as refused:
            act(session, proof)
        answers.add(str(refused.value))

    assert len(answers) == 1
    assert [row.endpoint for row in rows(db)] == [before]
    assert rows(db)[0].language is None


@pytest.mark.parametrize(
    "proof", [Proof(), Proof(endpoint="https://push.example/x"), Proof(auth=b"sixteen bytes ok")]
)
def test_half_a_proof_is_no_proof(db: Database, proof: Proof) -> None:
    with db.read() as session, pytest.raises(InvalidInput):
        subscriptions.find(session, proof)


def test_who_is_gone_or_was_not_seen_for_long_is_pruned(
    db: Database, publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_PRUNED_AT_ONCE", 2)
    there, just_gone, long_gone, *unseen = publication.add_readers(8)
    with db.write() as session:
        now = now_of(session)
        session.get_one(Subscription, just_gone).gone_at = now - timedelta(days=29)
        session.get_one(Subscription, long_gone).gone_at = now - timedelta(days=31)
        session.get_one(Subscription, there).last_seen_at = now - timedelta(days=99)
        for reader in unseen:
            session.get_one(Subscription, reader).last_seen_at = now - timedelta(days=101)

    monkeypatch.setattr(subscriptions, "MOST_PRUNED", 4)
    assert subscriptions.prune(db, timedelta(days=100)) == 4
    assert subscriptions.prune(db, timedelta(days=100)) == 2
    assert [row.id for row in rows(db)] == [there, just_gone]
    assert subscriptions.prune(db, timedelta(days=100)) == 0


def test_a_pause_ends_by_itself_or_when_the_reader_says_so(db: Database) -> None:
    reader = browser()
    opt_in(db, reader)

    def paused_for(pause: Pause | None) -> timedelta | None:
        with db.write() as session:
            row = subscriptions.change(session, proof_of(reader), pause=pause)
            return row.paused_until and row.paused_until - row.last_seen_at

    assert paused_for(Pause.DAY) == timedelta(days=1)
    week = paused_for(Pause.WEEK)
    assert week == timedelta(days=7)
    assert timedelta(days=6) < paused_for(None) <= week, "what is left out stays"
    assert paused_for(Pause.OFF) is None


def test_stories_are_muted_and_heard_of_again(db: Database, publication: Publication) -> None:
    first = publication.release("Flood")
    publication.release("Flood is over", story_id=first.story_id)
    second = publication.release("Fire")
    reader = browser()
    opt_in(db, reader)

    def muted(**change: Any) -> list[tuple[int, str]]:
        with db.write() as session:
            row = subscriptions.change(session, proof_of(reader), **change)
            return subscriptions.muted_stories(session, row)

    assert muted(mute=first.story_id) == [(first.story_id, "Flood is over")]
    assert muted(mute=first.story_id) == [(first.story_id, "Flood is over")]
    assert [title for _, title in muted(mute=second.story_id)] == ["Fire", "Flood is over"]
    assert muted(unmute=first.story_id) == [(second.story_id, "Fire")]
    assert muted(unmute=first.story_id) == [(second.story_id, "Fire")]
    with pytest.raises(InvalidInput) as refused:
        muted(mute=second.story_id + 1)
    assert refused.value.field == "mute"


def test_who_mutes_too_many_stories_hears_of_the_oldest_again(
    db: Database, publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "MOST_MUTED", 2)
    stories = [publication.release().story_id for _ in range(3)]
    reader = browser()
    opt_in(db, reader)

    with db.write() as session:
        for story_id in stories:
            row = subscriptions.change(session, proof_of(reader), mute=story_id)
        kept = [story_id for story_id, _ in subscriptions.muted_stories(session, row)]

    assert kept == [stories[2], stories[1]]
    with db.write() as session:
        subscriptions.opt_out(session, proof_of(reader))
        assert session.scalars(select(MutedStory)).all() == []


def test_a_welcome_is_owed_to_a_new_reader_who_wants_it(db: Database) -> None:
    reader, other = browser(), browser()
    opt_in(db, reader)
    opt_in(db, reader, welcome=True)
    opt_in(db, other, welcome=True)

    assert [row.owed for row in rows(db)] == [None, OwnMessage.WELCOME]


def test_an_id_is_never_given_twice(db: Database) -> None:
    """Batches are made of ids: a new reader must not inherit another's place."""
    reader = browser()
    first = opt_in(db, reader).subscription.id
    with db.write() as session:
        subscriptions.opt_out(session, proof_of(reader))

    assert opt_in(db, browser()).subscription.id > first


def test_errors_of_the_database_keep_endpoints_and_keys_to_themselves(db: Database) -> None:
    reader = browser("a-capability")
    opt_in(db, reader)

    with pytest.raises(IntegrityError) as refused, db.write() as session:
        session.add(
            Subscription(
                endpoint=reader.endpoint.url,
                endpoint_hash=subscriptions.endpoint_hash(reader.endpoint.url),
                push_service="mozilla",
                p256dh=reader.p256dh,
                auth=reader.auth,
                vapid_key_id=1,
                created_at=now_of(session),
                last_seen_at=now_of(session),
            )
        )

    assert "a-capability" not in str(refused.value)
    assert "sixteen bytes" not in str(refused.value)
    with db.read() as session:
        assert session.scalars(select(func.count()).select_from(Subscription)).one() == 1

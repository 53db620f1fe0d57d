"""A browser that gets another endpoint stays the reader it was, and has one row."""

from typing import Any

import pytest
from publication import browser
from sqlalchemy import select
from together import together

from notifier import subscriptions
from notifier.db import Database, now_of
from notifier.errors import Conflict, InvalidInput, NotFound
from notifier.models import Subscription
from notifier.proofs import Proof
from notifier.subscriptions import BrowserSubscription, OptIn


def opt_in(db: Database, subscription: BrowserSubscription, **options: Any) -> OptIn:
    with db.write() as session:
        return subscriptions.opt_in(session, subscription, **options)


def rows(db: Database) -> list[Subscription]:
    with db.read() as session:
        return list(session.scalars(select(Subscription).order_by(Subscription.id)))


def secrets_of(subscription: BrowserSubscription) -> Proof:
    return Proof(
        endpoint=subscription.endpoint.url, auth=subscription.auth, p256dh=subscription.p256dh
    )


@pytest.mark.parametrize("by_token", [True, False])
def test_moving_keeps_who_one_is_and_what_one_chose(db: Database, by_token: bool) -> None:
    old, new = browser(), browser(auth=b"a fresh auth key")
    token = opt_in(db, old, sections=["sport"], language="de").management_token
    before = rows(db)[0]
    with db.write() as session:
        row = session.get_one(Subscription, before.id)
        row.gone_at = row.rejected_at = row.hold_until = now_of(session)

    proof = Proof(management_token=token) if by_token else secrets_of(old)
    moved = opt_in(db, new, old=proof)

    (row,) = rows(db)
    assert not moved.created
    assert row.endpoint == new.endpoint.url
    assert row.endpoint_hash == subscriptions.endpoint_hash(new.endpoint.url)
    assert row.auth == new.auth
    assert (row.gone_at, row.rejected_at, row.hold_until) == (None, None, None)
    for kept in ("id", "sections", "language", "created_at"):
        assert getattr(row, kept) == getattr(before, kept)
    assert (moved.management_token == token) is by_token
    with db.read() as session:
        by_new_token = Proof(management_token=moved.management_token)
        assert subscriptions.find(session, by_new_token).id == before.id
        with pytest.raises(NotFound):
            subscriptions.find(session, secrets_of(old))


def test_a_browser_has_one_row(db: Database) -> None:
    """Its token stands for one row and its endpoint for another: the token's stays."""
    lost, found = browser(), browser()
    token = opt_in(db, lost, sections=["sport"]).management_token
    opt_in(db, found, sections=["world"], language="de")
    kept = rows(db)[0]

    opt_in(db, found, old=Proof(management_token=token))

    (row,) = rows(db)
    assert (row.id, row.endpoint) == (kept.id, found.endpoint.url)
    assert (row.sections, row.language) == (kept.sections, None)


def test_the_proof_of_a_browsers_own_endpoint_lets_its_keys_change(db: Database) -> None:
    reader, fresh = browser("same"), browser("same", auth=b"a fresh auth key")
    token = opt_in(db, reader).management_token

    opt_in(db, fresh, old=Proof(management_token=token))

    assert [row.auth for row in rows(db)] == [fresh.auth]


def test_nobody_moves_to_the_endpoint_of_another(db: Database) -> None:
    reader, other = browser(), browser()
    opt_in(db, reader)
    opt_in(db, other)
    guessed = browser(endpoint=other.endpoint, auth=b"a guessed secret")

    with pytest.raises(Conflict):
        opt_in(db, guessed, old=secrets_of(reader))

    assert [row.endpoint for row in rows(db)] == [reader.endpoint.url, other.endpoint.url]


def test_a_proof_of_nothing_makes_a_new_reader(db: Database) -> None:
    reader = browser()
    opt_in(db, reader, sections=["sport"])
    right = {"endpoint": reader.endpoint.url, "auth": reader.auth, "p256dh": reader.p256dh}

    for wrong in ({"auth": b"a guessed secret"}, {"p256dh": b"\x04" * 65}, {"endpoint": "x"}):
        assert opt_in(db, browser(), old=Proof(**right | wrong)).created
    assert opt_in(db, browser(), old=Proof(management_token="guessed")).created

    assert rows(db)[0].endpoint == reader.endpoint.url
    assert [bool(row.sections) for row in rows(db)] == [True] + [False] * 4


def test_moving_takes_all_that_the_browser_knew(db: Database) -> None:
    reader = browser()
    opt_in(db, reader)
    without_key = Proof(endpoint=reader.endpoint.url, auth=reader.auth)

    with pytest.raises(InvalidInput) as refused:
        opt_in(db, browser(), old=without_key)

    assert refused.value.field == "old"
    assert len(rows(db)) == 1


def test_tabs_that_move_at_once_end_with_one_row(db: Database) -> None:
    old, new = browser(), browser()
    token = opt_in(db, old, sections=["sport"]).management_token
    before = rows(db)[0]

    moved = together(12, lambda _: opt_in(db, new, old=Proof(management_token=token)))

    (row,) = rows(db)
    assert (row.id, row.endpoint, row.sections) == (before.id, new.endpoint.url, before.sections)
    assert {one.management_token for one in moved} == {token}
    assert not any(one.created for one in moved)


def test_tabs_of_which_some_know_the_old_endpoint_end_with_one_row(db: Database) -> None:
    """Some by token, some by the old secrets, some without any proof: all at the same moment."""
    old, new = browser(), browser()
    token = opt_in(db, old).management_token
    proofs = [Proof(management_token=token), secrets_of(old), None]

    together(12, lambda number: opt_in(db, new, old=proofs[number % 3]))

    (row,) = rows(db)
    assert row.endpoint == new.endpoint.url


def test_readers_who_cross_over_at_once_stay_one_row_each(db: Database) -> None:
    """Each moves to the other's endpoint and back: the locks are taken in one order."""
    here, there = browser(), browser()
    tokens = [opt_in(db, here).management_token, opt_in(db, there).management_token]

    def cross(number: int) -> None:
        target = (here, there)[number // 2 % 2]
        opt_in(db, target, old=Proof(management_token=tokens[number % 2]))

    together(12, cross)

    endpoints = [row.endpoint for row in rows(db)]
    assert 1 <= len(endpoints) <= 2
    assert len(set(endpoints)) == len(endpoints)


def test_of_strangers_who_claim_one_new_endpoint_at_once_one_gets_it(db: Database) -> None:
    readers = [browser() for _ in range(6)]
    for reader in readers:
        opt_in(db, reader)
    shared = browser().endpoint

    def claim(number: int) -> bool:
        mine = browser(endpoint=shared, auth=b"%016d" % number)
        try:
            opt_in(db, mine, old=secrets_of(readers[number]))
        except Conflict:
            return False
        return True

    assert together(6, claim).count(True) == 1
    assert len(rows(db)) == 6

"""Credentials of machines."""

from datetime import timedelta

import pytest
from sqlalchemy import select, text

from notifier import tokens
from notifier.db import Database
from notifier.errors import Conflict, NotFound
from notifier.models import ApiToken
from notifier.tokens import Scope


def create(db: Database, name: str = "cms") -> str:
    with db.write() as session:
        return tokens.create(session, Scope.ARTICLES_WRITE, name)


def is_valid(db: Database, token: str) -> bool:
    with db.write() as session:
        return tokens.authenticate(session, token, Scope.ARTICLES_WRITE) is not None


def test_a_token_is_valid_until_it_is_revoked(db: Database) -> None:
    token, other = create(db), create(db, "other")
    assert is_valid(db, token)

    with db.write() as session:
        tokens.revoke(session, "cms")

    assert not is_valid(db, token)
    assert is_valid(db, other)
    with db.read() as session:
        assert [row.name for row in tokens.active(session)] == ["other"]


@pytest.mark.parametrize("wrong", ["", "nt_", "nt_" + "A" * 43, "ü"])
def test_anything_else_is_not(db: Database, wrong: str) -> None:
    token = create(db)

    assert not is_valid(db, wrong)
    assert not is_valid(db, token.upper())
    assert not is_valid(db, token + "x")


def test_a_token_of_another_scope_is_not_valid(db: Database) -> None:
    token = create(db)
    with db.write() as session:
        session.scalars(select(ApiToken)).one().scope = "something:else"

    assert not is_valid(db, token)


def test_only_a_hash_is_kept(db: Database) -> None:
    token = create(db)

    with db.read() as session:
        row = session.execute(text("SELECT * FROM api_tokens")).one()
    assert token not in str(tuple(row))
    assert token.removeprefix("nt_") not in str(tuple(row))
    assert len(token) > 40


def test_a_name_is_used_by_one_token_at_a_time(db: Database) -> None:
    first = create(db)
    with pytest.raises(Conflict, match="cms"):
        create(db)
    with db.write() as session:
        tokens.revoke(session, "cms")

    assert create(db) != first
    with db.write() as session:
        tokens.revoke(session, "cms")
        with pytest.raises(NotFound):
            tokens.revoke(session, "cms")


def test_use_is_noted_once_a_minute_at_most(db: Database) -> None:
    token = create(db)

    def last_use() -> object:
        with db.read() as session:
            return session.scalars(select(ApiToken.last_used_at)).one()

    assert last_use() is None
    is_valid(db, token)
    first = last_use()
    assert first is not None
    is_valid(db, token)
    assert last_use() == first
    with db.write() as session:
        session.scalars(select(ApiToken)).one().last_used_at -= timedelta(minutes=2)
    is_valid(db, token)
    assert last_use() != first

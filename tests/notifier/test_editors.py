"""How editors come in."""

import pytest
from sqlalchemy import select, text

from notifier import editors
from notifier.db import Database
from notifier.errors import InvalidInput, NotFound
from notifier.models import Editor, SignInLink

EMAIL = "editor@example.com"
PASSWORD = "correct horse battery"
HASHER = editors._hasher  # tests have a quicker one


def invite(db: Database, email: str = EMAIL) -> str:
    with db.write() as session:
        return editors.invite(session, email)


def sign_in(db: Database, email: str, password: str) -> Editor | None:
    with db.write() as session:
        return editors.sign_in(session, email, password)


def test_a_link_lets_its_editor_choose_a_password_once(db: Database) -> None:
    token = invite(db, " Editor@Example.com ")
    with db.read() as session:
        assert editors.find_link(session, token).email == EMAIL

    with db.write() as session:
        assert editors.use_link(session, token, PASSWORD).email == EMAIL

    assert sign_in(db, "EDITOR@example.com ", PASSWORD) is not None
    with db.write() as session:
        for use in (
            lambda: editors.find_link(session, token),
            lambda: editors.use_link(session, token, PASSWORD),
        ):
            with pytest.raises(NotFound):
                use()


def test_a_password_that_is_too_short_leaves_the_link(db: Database) -> None:
    token = invite(db)
    with db.write() as session, pytest.raises(InvalidInput) as refused:
        editors.use_link(session, token, "123456789")

    assert refused.value.field == "password"
    with db.write() as session:
        editors.use_link(session, token, "1234567890")


def test_a_new_link_makes_the_earlier_ones_useless_but_not_the_password(db: Database) -> None:
    first = invite(db)
    with db.write() as session:
        editors.use_link(session, first, PASSWORD)
    second, third = invite(db), invite(db)

    with db.read() as session:
        with pytest.raises(NotFound):
            editors.find_link(session, second)
        editors.find_link(session, third)
        assert len(editors.everyone(session)) == 1
    assert sign_in(db, EMAIL, PASSWORD) is not None


def test_a_link_is_too_old_after_a_day(db: Database) -> None:
    token = invite(db)
    with db.write() as session:
        session.scalars(select(SignInLink)).one().expires_at -= editors.LINK_LIFETIME

    with db.read() as session, pytest.raises(NotFound):
        editors.find_link(session, token)


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (EMAIL, "wrong password"),
        (EMAIL, ""),
        ("nobody@example.com", PASSWORD),
        ("invited@example.com", PASSWORD),
        ("invited@example.com", ""),
    ],
)
def test_nobody_else_gets_in(db: Database, email: str, password: str) -> None:
    invite(db, "invited@example.com")
    with db.write() as session:
        editors.use_link(session, editors.invite(session, EMAIL), PASSWORD)

    assert sign_in(db, email, password) is None


@pytest.mark.parametrize("email", ["", "x", "@example.com", "a@b", "a b@example.com", "a@."])
def test_what_is_no_address_is_refused(db: Database, email: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        invite(db, email)
    assert refused.value.field == "email"


def test_passwords_and_links_are_kept_as_hashes_only(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editors, "_hasher", HASHER)
    token = invite(db)
    with db.read() as session:
        assert token not in str(session.execute(text("SELECT * FROM sign_in_links")).all())
    with db.write() as session:
        editors.use_link(session, token, PASSWORD)
    with db.read() as session:
        (row,) = session.execute(text("SELECT password_hash FROM editors")).all()
    assert row[0].startswith("$argon2id$v=19$m=65536,t=3,p=4$")

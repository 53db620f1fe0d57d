"""Editors: how they come in, by a link that works once or by a password."""

from collections.abc import Sequence
from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from notifier.db import now_of
from notifier.errors import InvalidInput, NotFound
from notifier.keys import new_token, token_hash
from notifier.models import Editor, SignInLink

LINK_LIFETIME = timedelta(hours=24)
SHORTEST_PASSWORD = 10

_hasher = PasswordHasher()
# Verified against when there is no such editor, so that the time it takes does not tell.
_NOBODYS_HASH = _hasher.hash(new_token())


def invite(session: Session, email: str) -> str:
    """The token of a new sign-in link for an editor, who is made if need be.

    Earlier links of theirs stop working. Raises InvalidInput.
    """
    email = _checked_email(email)
    now = now_of(session)
    editor = session.scalars(select(Editor).where(Editor.email == email)).one_or_none()
    if editor is None:
        editor = Editor(email=email, created_at=now)
        session.add(editor)
        session.flush()
    session.execute(delete(SignInLink).where(SignInLink.editor_id == editor.id))
    token = new_token()
    session.add(
        SignInLink(
            token_hash=token_hash(token), editor_id=editor.id, expires_at=now + LINK_LIFETIME
        )
    )
    return token


def find_link(session: Session, token: str) -> Editor:
    """The editor whom a link would sign in; the link stays. Raises NotFound."""
    link = session.get(SignInLink, token_hash(token))
    if link is None or link.expires_at <= now_of(session):
        raise NotFound("This sign-in link has been used already, or is too old.")
    return session.get_one(Editor, link.editor_id)


def use_link(session: Session, token: str, password: str) -> Editor:
    """Use a link up: the editor is signed in and has chosen a password.

    Raises NotFound, and InvalidInput for a password that is too short; then the link stays.
    """
    editor = find_link(session, token)
    if len(password) < SHORTEST_PASSWORD:
        raise InvalidInput(
            f"Choose a password of at least {SHORTEST_PASSWORD} characters.", field="password"
        )
    used = session.execute(
        delete(SignInLink)
        .where(SignInLink.token_hash == token_hash(token))
        .returning(SignInLink.editor_id)
    ).one_or_none()
    if used is None:
        raise NotFound("This sign-in link has just been used.")
    editor.password_hash = _hasher.hash(password)
    return editor


def sign_in(session: Session, email: str, password: str) -> Editor | None:
    """The editor with that address and password, or None."""
    query = select(Editor).where(Editor.email == email.strip().lower())
    editor = session.scalars(query).one_or_none()
    known_hash = editor.password_hash if editor is not None else None
    try:
        _hasher.verify(known_hash or _NOBODYS_HASH, password)
    except (VerifyMismatchError, InvalidHashError):
        return None
    return editor if known_hash else None


def get(session: Session, editor_id: int) -> Editor | None:
    return session.get(Editor, editor_id)


def everyone(session: Session) -> Sequence[Editor]:
    """All editors, the first one first."""
    return session.scalars(select(Editor).order_by(Editor.id)).all()


def remove(session: Session, email: str) -> None:
    """Take an editor's access away at once, open sessions and links too. Raises NotFound."""
    removed = session.execute(
        delete(Editor).where(Editor.email == email.strip().lower()).returning(Editor.id)
    ).one_or_none()
    if removed is None:
        raise NotFound(f"There is no editor {email!r}: `notifier editor list` shows who there is.")


def _checked_email(email: str) -> str:
    email = email.strip().lower()
    local, _, host = email.rpartition("@")
    if not local or "." not in host.strip(".") or any(map(str.isspace, email)) or len(email) > 254:
        raise InvalidInput(f"{email!r} is not an e-mail address.", field="email")
    return email

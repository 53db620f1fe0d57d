"""Credentials of machines: random, scoped, revocable, kept as hashes."""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from notifier.db import now_of
from notifier.errors import Conflict, NotFound
from notifier.keys import token_hash
from notifier.models import ApiToken

_USE_IS_NOTED_EVERY = timedelta(minutes=1)


class Scope(StrEnum):
    """What a token lets a machine do."""

    ARTICLES_WRITE = "articles:write"


def create(session: Session, scope: Scope, name: str) -> str:
    """Make a token and answer it: it cannot be read again. Raises Conflict for a name in use."""
    taken = select(ApiToken.id).where(ApiToken.name == name, ApiToken.revoked_at.is_(None))
    if session.scalars(taken).first() is not None:
        raise Conflict(
            f"There is a token named {name!r} already: revoke it or choose another name."
        )
    token = f"nt_{secrets.token_urlsafe(32)}"
    session.add(
        ApiToken(name=name, scope=scope, token_hash=token_hash(token), created_at=now_of(session))
    )
    return token


def authenticate(session: Session, token: str, scope: Scope) -> ApiToken | None:
    """The valid token of that scope, or None. Notes its use, once a minute at most."""
    # Looked up by the hash of 256 random bits: how long that takes tells nothing of the token.
    row = session.scalars(
        select(ApiToken).where(ApiToken.token_hash == token_hash(token))
    ).one_or_none()
    if row is None or row.revoked_at is not None or row.scope != scope:
        return None
    now = now_of(session)
    if row.last_used_at is None or now - row.last_used_at > _USE_IS_NOTED_EVERY:
        row.last_used_at = now
    return row


def active(session: Session) -> Sequence[ApiToken]:
    """The tokens that are not revoked, the oldest first."""
    query = select(ApiToken).where(ApiToken.revoked_at.is_(None)).order_by(ApiToken.id)
    return session.scalars(query).all()


def revoke(session: Session, name: str) -> None:
    """Make a token useless at once. Raises NotFound."""
    query = select(ApiToken).where(ApiToken.name == name, ApiToken.revoked_at.is_(None))
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound(
            f"No token in force is named {name!r}: `notifier token list` shows which are."
        )
    row.revoked_at = now_of(session)

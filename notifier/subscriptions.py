"""Opting in, changing one's mind, moving to another endpoint, and opting out."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from notifier import sections as sections_
from notifier.db import now_of, upsert
from notifier.endpoints import Endpoint
from notifier.errors import Conflict, InvalidInput, NotFound
from notifier.keys import new_token, token_hash
from notifier.models import Subscription, VapidPublicKey

KEEP_GONE_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class BrowserSubscription:
    """What a browser's PushSubscription says, checked: endpoint, 65 and 16 bytes of keys."""

    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_public_key: bytes | None = None  # None: the newest key of the service


@dataclass(frozen=True, slots=True)
class Proof:
    """How a reader proves that a subscription is theirs: a management token, or its secrets."""

    endpoint: str | None = None
    auth: bytes | None = None
    management_token: str | None = None


@dataclass(frozen=True, slots=True)
class OptIn:
    """A recorded subscription; `management_token` is told this once and kept only as a hash."""

    subscription: Subscription
    created: bool
    management_token: str


def endpoint_hash(endpoint: str) -> bytes:
    """What an endpoint is looked up and compared by: its SHA-256."""
    return hashlib.sha256(endpoint.encode()).digest()


def opt_in(
    session: Session,
    browser: BrowserSubscription,
    *,
    sections: Sequence[str] | None = None,
    language: str | None = None,
) -> OptIn:
    """Record a subscription; a known endpoint with the same keys is the same subscription.

    `sections` and `language` left out keep what was chosen before; no section chosen stands for
    all of them. Raises Conflict when the endpoint is known with other keys, and InvalidInput for
    a section or VAPID key that is not ours.
    """
    now = now_of(session)
    token = new_token()
    values: dict[str, Any] = {
        "endpoint": browser.endpoint.url,
        "endpoint_hash": endpoint_hash(browser.endpoint.url),
        "push_service": browser.endpoint.push_service,
        "p256dh": browser.p256dh,
        "auth": browser.auth,
        "vapid_key_id": _vapid_key_id(session, browser.vapid_public_key),
        "sections": sections_.choice_bits(session, sections or ()),
        "language": language,
        "management_token_hash": token_hash(token),
        "created_at": now,
        "last_seen_at": now,
    }
    statement = (
        upsert(session, Subscription)
        .values(values)
        .on_conflict_do_nothing(index_elements=[Subscription.endpoint_hash])
        .returning(Subscription)
    )
    created = session.scalars(statement).one_or_none()
    if created is not None:
        return OptIn(created, created=True, management_token=token)
    known = session.scalars(
        select(Subscription)
        .where(Subscription.endpoint_hash == values["endpoint_hash"])
        .with_for_update()
    ).one_or_none()
    if known is None:  # opted out in the instant between the two statements
        raise Conflict("The subscription was changed at the same moment. Try again.")
    if known.p256dh != browser.p256dh or not hmac.compare_digest(known.auth, browser.auth):
        raise Conflict(
            "This endpoint is already subscribed with other keys. "
            "Unsubscribe in the browser and subscribe again."
        )
    # Those who know both secrets own the subscription: a token that was lost is replaced.
    known.management_token_hash = values["management_token_hash"]
    known.last_seen_at = now
    known.gone_at = None
    _choose(session, known, sections, language)
    return OptIn(known, created=False, management_token=token)


def find(session: Session, proof: Proof) -> Subscription:
    """The subscription that the proof is for. Raises NotFound for every proof that fails."""
    if proof.management_token is not None:
        where = Subscription.management_token_hash == token_hash(proof.management_token)
        found = session.scalars(select(Subscription).where(where).with_for_update()).one_or_none()
    elif proof.endpoint is not None and proof.auth is not None:
        where = Subscription.endpoint_hash == endpoint_hash(proof.endpoint)
        found = session.scalars(select(Subscription).where(where).with_for_update()).one_or_none()
        if found is not None and not hmac.compare_digest(found.auth, proof.auth):
            found = None
    else:
        raise InvalidInput("Prove ownership: send management_token, or endpoint and auth.")
    if found is None:
        raise NotFound("No such subscription.")
    return found


def change(
    session: Session,
    proof: Proof,
    *,
    sections: Sequence[str] | None = None,
    language: str | None = None,
) -> Subscription:
    """Change what a reader wants; what is left out stays. Raises NotFound, InvalidInput."""
    subscription = find(session, proof)
    _choose(session, subscription, sections, language)
    subscription.last_seen_at = now_of(session)
    return subscription


def renew(session: Session, proof: Proof, browser: BrowserSubscription) -> Subscription:
    """Replace an endpoint that the browser has given up; id, choices and token stay.

    Raises NotFound when the old one is not proved, and Conflict when the new endpoint already
    belongs to another subscription.
    """
    subscription = find(session, proof)
    new_hash = endpoint_hash(browser.endpoint.url)
    owner = session.scalars(
        select(Subscription.id).where(Subscription.endpoint_hash == new_hash)
    ).one_or_none()
    if owner not in (None, subscription.id):
        raise Conflict("The new endpoint is already subscribed.")
    vapid_key_id = _vapid_key_id(session, browser.vapid_public_key)
    now = now_of(session)
    subscription.endpoint = browser.endpoint.url
    subscription.endpoint_hash = new_hash
    subscription.push_service = browser.endpoint.push_service
    subscription.p256dh = browser.p256dh
    subscription.auth = browser.auth
    subscription.vapid_key_id = vapid_key_id
    subscription.gone_at = None
    subscription.last_seen_at = now
    try:
        session.flush()
    except IntegrityError:  # another has subscribed with it since the look above
        raise Conflict("The new endpoint is already subscribed.") from None
    return subscription


def opt_out(session: Session, proof: Proof) -> None:
    """Delete the subscription and everything known about the reader. Raises NotFound."""
    session.delete(find(session, proof))


def prune(session: Session) -> int:
    """Delete the subscriptions that have been gone for thirty days; answers how many."""
    result = session.execute(
        delete(Subscription).where(Subscription.gone_at < now_of(session) - KEEP_GONE_FOR)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def _choose(
    session: Session,
    subscription: Subscription,
    sections: Sequence[str] | None,
    language: str | None,
) -> None:
    if sections is not None:
        subscription.sections = sections_.choice_bits(session, sections)
    if language is not None:
        subscription.language = language


def _vapid_key_id(session: Session, public_key: bytes | None) -> int:
    query = select(VapidPublicKey.id).order_by(VapidPublicKey.id.desc()).limit(1)
    if public_key is not None:
        query = query.where(VapidPublicKey.public_key == public_key)
    key_id = session.scalars(query).one_or_none()
    if key_id is None:
        raise InvalidInput(
            "This service did not give out that key. Take vapid_public_key from /api/v1/config.",
            field="vapid_public_key",
        )
    return key_id

"""Opting in, saying so again, changing one's mind, moving to another endpoint, and opting out."""

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from notifier import sections as sections_
from notifier.db import Database, now_of, upsert
from notifier.endpoints import Endpoint, endpoint_hash
from notifier.errors import Conflict, InvalidInput, NotFound
from notifier.keys import new_token, token_hash
from notifier.models import (
    Alert,
    Level,
    MutedStory,
    OwnMessage,
    Story,
    Subscription,
    VapidPublicKey,
)
from notifier.proofs import Proof

KEEP_GONE_FOR = timedelta(days=30)
MOST_MUTED = 100
"""Stories that one reader mutes; with more, the oldest stories are heard of again."""

MOST_PRUNED = 10_000

_ATTEMPTS = 3
_PRUNED_AT_ONCE = 500  # rows in a transaction, so that nobody waits long for it


@dataclass(frozen=True, slots=True)
class BrowserSubscription:
    """What a browser's PushSubscription says, checked: endpoint, 65 and 16 bytes of keys."""

    endpoint: Endpoint
    p256dh: bytes
    auth: bytes
    vapid_public_key: bytes | None = None  # None: the newest key of the service


@dataclass(frozen=True, slots=True)
class OptIn:
    """A recorded subscription; `management_token` is kept only as a hash, so it is told here.

    `was_gone`: the push service has called this very endpoint gone, and the browser, which has it
    still, had better subscribe anew.
    """

    subscription: Subscription
    created: bool
    management_token: str
    was_gone: bool


class Pause(StrEnum):
    """For how long a reader wants to hear nothing, but for corrections."""

    DAY = "day"
    WEEK = "week"
    OFF = "off"


PAUSES = {Pause.DAY: timedelta(days=1), Pause.WEEK: timedelta(weeks=1)}


def opt_in(
    session: Session,
    browser: BrowserSubscription,
    *,
    sections: Sequence[str] | None = None,
    level: Level | None = None,
    language: str | None = None,
    old: Proof | None = None,
    welcome: bool = False,
) -> OptIn:
    """Record a browser's subscription, or that it is still there; a browser has one row.

    The row that `old` proves moves to the browser's endpoint, and what else was known of that
    endpoint goes; without a row that it proves, a known endpoint with the same keys is the same
    subscription. Choices that are left out stay as they were; no section chosen stands for all of
    them. The token stays the same when `old` proved it. `welcome` asks for the welcome, which is
    owed only to a row that this call creates. Raises Conflict when the endpoint is known with
    other keys, and InvalidInput for a section or VAPID key that is not ours or half a proof.
    """
    if old is not None:
        old.check_whole(to_move=True)
    for _ in range(_ATTEMPTS):
        try:
            with session.begin_nested():
                row, token, was_gone = _moved(session, browser, old)
                created = row is None
                if row is None:
                    row = _created(session, browser, token)
                    row.owed = OwnMessage.WELCOME if welcome else None
                _choose(session, row, sections, level, language)
                return OptIn(row, created=created, management_token=token, was_gone=was_gone)
        except IntegrityError:  # another call has recorded the same endpoint since the look
            continue
    raise Conflict("The subscription was changed at the same moment. Try again.")


def find(session: Session, proof: Proof) -> Subscription:
    """The subscription that the proof is for, held against others until the commit.

    Raises NotFound for every proof that fails.
    """
    proof.check_whole()
    for row in _locked(session, proof.condition()):
        if proof.holds_for(row):
            return row
    raise NotFound("No such subscription.")


def change(
    session: Session,
    proof: Proof,
    *,
    sections: Sequence[str] | None = None,
    level: Level | None = None,
    language: str | None = None,
    pause: Pause | None = None,
    mute: int | None = None,
    unmute: int | None = None,
) -> Subscription:
    """Change what a reader wants; what is left out stays.

    `mute` and `unmute` are ids of stories. Raises NotFound, and InvalidInput for what does not
    exist.
    """
    row = find(session, proof)
    now = now_of(session)
    _choose(session, row, sections, level, language)
    if pause is not None:
        row.paused_until = now + PAUSES[pause] if pause in PAUSES else None
    if mute is not None:
        _mute(session, row, mute)
    if unmute is not None:
        session.execute(
            delete(MutedStory).where(
                MutedStory.subscription_id == row.id, MutedStory.story_id == unmute
            )
        )
    row.last_seen_at = now
    return row


def muted_stories(session: Session, row: Subscription) -> list[tuple[int, str]]:
    """The stories that a reader has muted, each with what its newest alert says; newest first."""
    newest = (
        select(Alert.title)
        .where(Alert.story_id == MutedStory.story_id)
        .order_by(Alert.revision.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = session.execute(
        select(MutedStory.story_id, newest)
        .where(MutedStory.subscription_id == row.id)
        .order_by(MutedStory.story_id.desc())
    )
    return [(story_id, title or "") for story_id, title in rows]


def ask_for_test(session: Session, proof: Proof) -> None:
    """Have a test notification sent to the reader; the caller commits and rings a worker.

    Raises NotFound, and Conflict when the push service has said that the endpoint is no more.
    """
    row = find(session, proof)
    if row.gone_at is not None:
        raise Conflict("The push service no longer knows this subscription. Subscribe again.")
    row.owed = OwnMessage.TEST
    row.last_seen_at = now_of(session)


def opt_out(session: Session, proof: Proof) -> None:
    """Delete the subscription and everything known about the reader. Raises NotFound."""
    session.delete(find(session, proof))


def prune(db: Database, forget_unseen_after: timedelta) -> int:
    """Delete who has been gone for thirty days, or not been seen for so long; says how many.

    In steps: a few hundred rows are deleted at once, and nothing is held while looking for them.
    A call that has deleted MOST_PRUNED leaves the others to the next one.
    """
    with db.read() as session:
        now = now_of(session)
    stale = or_(
        Subscription.gone_at < now - KEEP_GONE_FOR,
        Subscription.last_seen_at < now - forget_unseen_after,
    )
    pruned = 0
    for ids in _pages(db, stale):
        if pruned >= MOST_PRUNED:
            break
        with db.write() as session:
            # Whoever has come back since the look stays.
            result = session.execute(delete(Subscription).where(Subscription.id.in_(ids), stale))
            pruned += int(result.rowcount)  # type: ignore[attr-defined]
    return pruned


def _pages(db: Database, condition: ColumnElement[bool]) -> Iterator[Sequence[int]]:
    query = select(Subscription.id).where(condition).order_by(Subscription.id)
    last = 0
    while True:
        with db.read() as session:
            ids = session.scalars(query.where(Subscription.id > last).limit(_PRUNED_AT_ONCE)).all()
        if not ids:
            return
        yield ids
        last = ids[-1]


def _moved(
    session: Session, browser: BrowserSubscription, old: Proof | None
) -> tuple[Subscription | None, str, bool]:
    """The row that is this browser's, at its endpoint, if there is one.

    With it its token, and whether it was gone at that endpoint.
    """
    new_hash = endpoint_hash(browser.endpoint.url)
    at_endpoint = Subscription.endpoint_hash == new_hash
    rows = _locked(session, at_endpoint if old is None else or_(at_endpoint, old.condition()))
    known = next((row for row in rows if row.endpoint_hash == new_hash), None)
    mine = next((row for row in rows if old is not None and old.holds_for(row)), None)
    if known is not None and known is not mine and not _has_keys_of(known, browser):
        raise Conflict(
            "This endpoint is already subscribed with other keys. "
            "Unsubscribe in the browser and subscribe again."
        )
    if mine is not None and known is not None and known is not mine:
        session.delete(known)
        session.flush()
    row = mine or known
    if row is None:
        return None, new_token(), False
    was_gone = row.gone_at is not None and row.endpoint_hash == new_hash
    if old is not None and row is mine and old.management_token is not None:
        token = old.management_token
    else:  # those who know its secrets own it: a token that was lost is replaced
        token = new_token()
        row.management_token_hash = token_hash(token)
    if row.endpoint_hash != new_hash or not _has_keys_of(row, browser):
        _move(session, row, browser)
    row.gone_at = None
    row.last_seen_at = now_of(session)
    session.flush()
    return row, token, was_gone


def _move(session: Session, row: Subscription, browser: BrowserSubscription) -> None:
    row.endpoint = browser.endpoint.url
    row.endpoint_hash = endpoint_hash(browser.endpoint.url)
    row.push_service = browser.endpoint.push_service
    row.p256dh = browser.p256dh
    row.auth = browser.auth
    row.vapid_key_id = _vapid_key_id(session, browser.vapid_public_key)
    row.rejected_at = None
    row.hold_until = None


def _created(session: Session, browser: BrowserSubscription, token: str) -> Subscription:
    now = now_of(session)
    row = Subscription(
        endpoint=browser.endpoint.url,
        endpoint_hash=endpoint_hash(browser.endpoint.url),
        push_service=browser.endpoint.push_service,
        p256dh=browser.p256dh,
        auth=browser.auth,
        vapid_key_id=_vapid_key_id(session, browser.vapid_public_key),
        management_token_hash=token_hash(token),
        created_at=now,
        last_seen_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _has_keys_of(row: Subscription, browser: BrowserSubscription) -> bool:
    same_point = hmac.compare_digest(row.p256dh, browser.p256dh)
    return hmac.compare_digest(row.auth, browser.auth) and same_point


def _locked(session: Session, condition: ColumnElement[bool]) -> Sequence[Subscription]:
    """The rows as they are now, locked in one order, so that calls do not deadlock."""
    return session.scalars(
        select(Subscription)
        .where(condition)
        .order_by(Subscription.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _choose(
    session: Session,
    row: Subscription,
    sections: Sequence[str] | None,
    level: Level | None,
    language: str | None,
) -> None:
    if sections is not None:
        row.sections = sections_.readers_bits(session, sections)
    if level is not None:
        row.level = level
    if language is not None:
        row.language = language


def _mute(session: Session, row: Subscription, story_id: int) -> None:
    if session.get(Story, story_id) is None:
        raise InvalidInput("There is no such story.", field="mute")
    session.execute(
        upsert(session, MutedStory)
        .values(subscription_id=row.id, story_id=story_id)
        .on_conflict_do_nothing()
    )
    mine = MutedStory.subscription_id == row.id
    oldest_kept = (
        select(MutedStory.story_id)
        .where(mine)
        .order_by(MutedStory.story_id.desc())
        .offset(MOST_MUTED - 1)
        .limit(1)
        .scalar_subquery()
    )
    session.execute(delete(MutedStory).where(mine, MutedStory.story_id < oldest_kept))


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

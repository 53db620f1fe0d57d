"""Messages to one reader alone: the welcome after opting in, and the test they ask for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import structlog
from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from notifier import push_services
from notifier.db import Database, now_of
from notifier.health import reason_of
from notifier.models import OpenBreaker, OwnMessage, Subscription
from notifier.notification import Appearance, encode
from notifier.phrases import direction_of, has_phrases, phrases_of
from notifier.push import (
    Accepted,
    Gone,
    Message,
    Outcome,
    Rejected,
    Sender,
    Target,
    Throttled,
    Unreachable,
    pad,
)

WORTH_FOR = timedelta(minutes=10)
"""How long after the reader was on the site it is worth sending; later it would only puzzle."""

TRY_AGAIN_AFTER = timedelta(seconds=30)
"""When a push service failed and did not say when to come back; alerts wait for that too."""

AT_ONCE = 20
"""No more than connections to a push service without HTTP/2, where the rest would wait: alerts wait
until all of them are answered."""

_ONE_SECOND = timedelta(seconds=1)
_POLL = timedelta(milliseconds=50)

log = structlog.get_logger()


class _Owed(NamedTuple):
    """A message that has been taken on, and whom it is for."""

    subscription_id: int
    endpoint_hash: bytes
    push_service: str
    target: Target
    kind: OwnMessage
    language: str | None
    ttl: timedelta
    is_probe: bool


@dataclass(frozen=True, slots=True)
class Publication:
    """What the messages say of who sends them; `home_url` is where a click on them leads."""

    name: str
    home_url: str


def is_due(session: Session) -> bool:
    """Whether a message is owed that may be sent now."""
    query = select(Subscription.id).where(_due(now_of(session))).limit(1)
    return session.execute(query).one_or_none() is not None


class OwnMessages:
    """Sends what is owed. One instance a process; shares the sender with Delivery, in turns."""

    def __init__(
        self,
        db: Database,
        sender: Sender[Any],
        appearance: Appearance,
        publication: Publication,
    ) -> None:
        self._db = db
        self._sender = sender
        self._appearance = appearance
        self._publication = publication

    def send_some(self) -> bool:
        """Send up to AT_ONCE messages; False when none was due.

        Each is taken from the database before it is sent, so that none is sent twice, however
        this ends. What a push service did not take is owed again for as long as it is worth it;
        an endpoint that is no more is deactivated.
        """
        with self._db.read() as session:
            if not is_due(session):
                return False
        with self._db.write() as session:
            owed = _take(session)
        outcomes = self._send(owed)
        counts = Counter(type(outcome).__name__.lower() for _, outcome in outcomes)
        log.info("own_messages_sent", **counts)
        news = [
            (one, outcome)
            for one, outcome in outcomes
            if one.is_probe or not isinstance(outcome, Accepted)
        ]
        if news:
            with self._db.write() as session:
                _record(session, news)
        return True

    def _send(self, owed: Sequence[_Owed]) -> list[tuple[_Owed, Outcome]]:
        outcomes: list[tuple[_Owed, Outcome]] = []
        messages = [self._message(one) for one in owed]
        for one, message in zip(owed, messages, strict=True):
            while self._sender.free <= 0:
                outcomes += self._sender.poll(_POLL)
            self._sender.submit(one, one.target, message)
        while self._sender.in_flight:
            outcomes += self._sender.poll(_POLL)
        return outcomes

    def _message(self, owed: _Owed) -> Message:
        rendered = render_own(
            owed.kind,
            self._appearance,
            self._publication,
            datetime.now(UTC),
            language=owed.language,
            declarative=owed.push_service == "apple",
        )
        return Message(padded=pad(rendered), ttl=owed.ttl, topic=owed.kind.value)


def render_own(
    kind: OwnMessage,
    appearance: Appearance,
    publication: Publication,
    now: datetime,
    *,
    language: str | None = None,
    declarative: bool = False,
) -> bytes:
    """The plaintext of a message: the same JSON as an alert's, see `notification.render`.

    In the reader's language, or the publication's where there are no phrases in that. Its revision
    grows with time, so that a later one replaces an earlier one.
    """
    if language is None or not has_phrases(language):
        language = appearance.language
    phrases = phrases_of(language)
    says = phrases.welcome if kind == OwnMessage.WELCOME else phrases.test
    title, body = says(publication.name)
    notification: dict[str, Any] = {
        "title": title,
        "body": body,
        "lang": language,
        "dir": direction_of(language),
        "tag": kind.value,
        "timestamp": int(now.timestamp() * 1000),
        "icon": appearance.icon,
        "actions": [],
        "data": {
            "url": publication.home_url,
            "alert": kind.value,
            "story": kind.value,
            "revision": int(now.timestamp()),
            "kind": kind.value,
            "sent_at": now.isoformat(),
            "expires_at": (now + WORTH_FOR).isoformat(),
        },
    }
    return encode(notification, navigate=publication.home_url if declarative else None)


def _due(now: datetime) -> ColumnElement[bool]:
    """The condition that a subscription is owed a message that may be sent now.

    A push service whose breaker is open is left alone until somebody may probe it.
    """
    left_alone = select(OpenBreaker.push_service).where(OpenBreaker.probe_at > now)
    return and_(_is_owed(now), Subscription.push_service.not_in(left_alone))


def _is_owed(now: datetime) -> ColumnElement[bool]:
    return and_(
        Subscription.owed.is_not(None),
        or_(Subscription.hold_until.is_(None), Subscription.hold_until <= now),
    )


def _take(session: Session) -> list[_Owed]:
    """Take on what is due; what is no longer worth sending is owed no more."""
    now = now_of(session)
    is_open = push_services.open_breakers(session)
    taken = _take_some(session, now, Subscription.push_service.not_in(is_open), AT_ONCE)
    for push_service, probe_at in sorted(is_open.items()):
        if probe_at <= now:
            to_it = Subscription.push_service == push_service
            taken += _take_some(session, now, to_it, 1, probes=push_service)
    return taken


def _take_some(
    session: Session,
    now: datetime,
    condition: ColumnElement[bool],
    most: int,
    *,
    probes: str | None = None,
) -> list[_Owed]:
    """Take on what is owed on a condition; `probes` is a push service whose probe must be won."""
    rows = session.scalars(
        select(Subscription)
        .where(_is_owed(now), condition)
        .order_by(Subscription.owed, Subscription.id)  # in the order of the index on `owed`
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    taken = []
    for row in rows:
        ttl = row.last_seen_at + WORTH_FOR - now
        if row.owed is not None and row.gone_at is None and ttl >= _ONE_SECOND:
            if probes is not None and not push_services.win_probe(session, probes):
                continue
            target = Target(row.endpoint, row.p256dh, row.auth, row.vapid_key_id)
            taken.append(
                _Owed(
                    row.id,
                    row.endpoint_hash,
                    row.push_service,
                    target,
                    row.owed,
                    row.language,
                    ttl,
                    is_probe=probes is not None,
                )
            )
        row.owed = None
    return taken


def _record(session: Session, news: Sequence[tuple[_Owed, Outcome]]) -> None:
    """Note what became of the messages that were not accepted.

    One that was written but not answered may arrive, so it is not sent again.
    """
    ids = [owed.subscription_id for owed, _ in news]
    in_order = select(Subscription).where(Subscription.id.in_(ids)).order_by(Subscription.id)
    rows = {row.id: row for row in session.scalars(in_order.with_for_update())}
    now = now_of(session)
    for owed, outcome in news:
        if owed.is_probe:
            _note_probe(session, owed.push_service, outcome)
        row = rows.get(owed.subscription_id)
        if row is None or row.endpoint_hash != owed.endpoint_hash:
            continue  # opted out, or moved on
        match outcome:
            case Gone():
                if not push_services.is_doubted(session, owed.push_service):
                    row.gone_at = now
            case Throttled(retry_after) | Unreachable(retry_after, ambiguous=False):
                until = now + (retry_after or TRY_AGAIN_AFTER)
                row.hold_until = max(row.hold_until or until, until)
                row.owed = row.owed or owed.kind


def _note_probe(session: Session, push_service: str, outcome: Outcome) -> None:
    """Open or close a breaker as an alert's probe would; see `ServiceHealth.note`."""
    match outcome:
        case Rejected(status=0):
            pass  # it was not asked: somebody else may, when this probe's time is over
        case Unreachable() | Rejected(too_large=False):
            push_services.note_failed_probe(session, push_service, reason_of(outcome))
        case _:
            push_services.close_breaker(session, push_service)

"""What answers tell of push services and subscriptions, beside what became of the message."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import and_, func, literal, or_, select, update
from sqlalchemy.orm import Session

from notifier import push_services
from notifier.db import CLOCKS_DIFFER_BY, now_of
from notifier.models import Subscription
from notifier.push_services import GoneEndpoint


@dataclass(slots=True)
class Findings:
    """What the answers for one alert told, until `record` makes it last.

    `answers` counts them for each push service, `dropped` those of them that took a message and
    said to have thrown it away; `refused` and `taken_again` are the ids of subscriptions whose
    messages are refused, and are not any more; `held` are those whose endpoints, of which it has
    the hashes, must not be asked again before a time. `mostly_gone` are the push services that
    have lately called most endpoints gone.
    """

    answers: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    gone: list[GoneEndpoint] = field(default_factory=list)
    mostly_gone: set[str] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    taken_again: list[int] = field(default_factory=list)
    held: dict[datetime, dict[int, bytes]] = field(default_factory=dict)

    def hold(self, subscription_id: int, endpoint_hash: bytes, until: datetime) -> datetime:
        """Note that a push service wants to be left alone about a subscription's endpoint.

        Answers until when that will be: a little longer, so that there are few different times,
        each of which takes a statement to write and brings a batch back to work.
        """
        halves = math.ceil((until + CLOCKS_DIFFER_BY).timestamp() * 2)
        until = datetime.fromtimestamp(halves / 2, UTC)
        self.held.setdefault(until, {})[subscription_id] = endpoint_hash
        return until

    def add(self, other: "Findings") -> None:
        """Take in what the answers for another batch of the same alert told."""
        self.answers.update(other.answers)
        self.dropped.update(other.dropped)
        self.gone += other.gone
        self.mostly_gone |= other.mostly_gone
        self.refused += other.refused
        self.taken_again += other.taken_again
        for until, held in other.held.items():
            self.held.setdefault(until, {}).update(held)

    def subscription_ids(self) -> list[int]:
        """Everybody whose subscription has something to be noted in it."""
        held = [row_id for held in self.held.values() for row_id in held]
        gone = [endpoint.subscription_id for endpoint in self.gone]
        return [*gone, *self.refused, *self.taken_again, *held]


def record(session: Session, found: Iterable[tuple[int, Findings]]) -> None:
    """Make findings last, each of which comes with the alert that it is about."""
    by_alert: dict[int, Findings] = {}
    for alert_id, findings in found:
        by_alert.setdefault(alert_id, Findings()).add(findings)
    ids = [row_id for findings in by_alert.values() for row_id in findings.subscription_ids()]
    if ids:  # locked in one order, so that processes do not deadlock
        in_order = select(Subscription.id).where(Subscription.id.in_(ids)).order_by(Subscription.id)
        session.execute(in_order.with_for_update())
    for alert_id, findings in sorted(by_alert.items()):
        push_services.record_answers(
            session,
            alert_id,
            findings.answers,
            findings.gone,
            findings.dropped,
            mostly_gone=findings.mostly_gone,
        )
        _note_refusals(session, findings)
        _note_holds(session, findings)


def _note_refusals(session: Session, findings: Findings) -> None:
    now = literal(now_of(session), Subscription.rejected_at.type)
    since = func.coalesce(Subscription.rejected_at, now)
    for ids, rejected_at in ((findings.refused, since), (findings.taken_again, None)):
        if ids:
            session.execute(
                update(Subscription)
                .where(Subscription.id.in_(ids))
                .values(rejected_at=rejected_at)
                .execution_options(synchronize_session=False)
            )


def _note_holds(session: Session, findings: Findings) -> None:
    for until, held in findings.held.items():
        # Who has moved to another endpoint meanwhile may be sent to there.
        is_theirs = and_(
            Subscription.id.in_(held), Subscription.endpoint_hash.in_(list(held.values()))
        )
        shorter = or_(Subscription.hold_until.is_(None), Subscription.hold_until < until)
        session.execute(
            update(Subscription)
            .where(is_theirs, shorter)
            .values(hold_until=until)
            .execution_options(synchronize_session=False)
        )

"""Who of a batch is sent to, as their rows stand at that moment."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from notifier import audience
from notifier.audience import Audience
from notifier.db import is_one_of
from notifier.ledger import Lease
from notifier.models import Subscription
from notifier.push import Target


class Recipient(NamedTuple):
    """A member of a batch who is to be sent to; `bit` is their place in it."""

    bit: int
    subscription_id: int
    endpoint_hash: bytes
    push_service: str
    target: Target
    refused_at: datetime | None

    @property
    def refused_before(self) -> bool:
        """Whether the push service refused the last message, and has since `refused_at`."""
        return self.refused_at is not None


@dataclass(slots=True)
class Waiting:
    """Those of a batch who wait: `ready` to be sent to, `held` until a time, or not there (`left`).

    All in the order of their bits.
    """

    ready: list[Recipient] = field(default_factory=list)
    held: list[tuple[int, datetime]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)


def read(session: Session, lease: Lease) -> Waiting:
    """Read the rows of those who wait.

    Who has opted out has left. So has, unless they are to be told of a correction, who would not
    be planned any more: who has paused, muted the story or chosen otherwise meanwhile. Raises
    ValueError when the batch's subscriptions, or its bits, do not fit its counts.
    """
    settled = sum(lease.counts.values())
    if len(lease.ids) != lease.waiting + settled:
        raise ValueError("the batch's list of subscriptions is damaged")
    if lease.settled_bits.bit_count() != settled:
        raise ValueError("the batch's settled bits are damaged")
    bits = {row_id: bit for bit, row_id in enumerate(lease.ids) if lease.is_waiting(bit)}
    now = lease.now()
    if lease.alert.kind.corrects:
        wanting: ColumnElement[bool] = Subscription.gone_at.is_(None)
    else:
        wanting = audience.wants(Audience.of(lease.alert), now)
    found = session.connection().execute(  # plain rows: making objects of them takes longer
        select(
            Subscription.id,
            Subscription.endpoint_hash,
            Subscription.push_service,
            Subscription.endpoint,
            Subscription.p256dh,
            Subscription.auth,
            Subscription.vapid_key_id,
            Subscription.rejected_at,
            Subscription.hold_until,
        )
        .where(is_one_of(session, Subscription.id, bits), wanting)
        .order_by(Subscription.id.desc())
    )
    waiting = Waiting()
    for row in found.all():
        row_id, endpoint_hash, push_service, endpoint, p256dh, auth, key_id, *times = row
        rejected_at, hold_until = times
        bit = bits.pop(row_id)
        if hold_until is not None and hold_until > now:
            waiting.held.append((bit, hold_until))
            continue
        waiting.ready.append(
            Recipient(
                bit,
                row_id,
                endpoint_hash,
                push_service,
                Target(endpoint, p256dh, auth, key_id),
                rejected_at,
            )
        )
    waiting.left += bits.values()
    return waiting

"""A leased batch while it is being sent: who is still to be sent to, and what the others await."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.clock import boot_time
from notifier.ledger import Lease
from notifier.recipients import Recipient

LEASE_TO_SPARE = timedelta(seconds=6)
"""No send starts with less lease left: a request takes 5 s at most, and then must be recorded."""


@dataclass(slots=True)
class BatchRun:
    """One batch in hand.

    `ready` are those who are still to be sent to, the last of them first; None: not read yet. Once
    `exhausted` nobody more is sent to: everybody was, or the worker leaves, or the alert has ended.
    A `lost` one is held by somebody else, or settled, and nothing of it is recorded any more.
    `is_mixed` says that they are at several push services. Of those who are left waiting, `waits`
    says when single ones may be tried again, and `holds` when everybody of a push service may.
    `refused` are those whose outcome is not settled before the batch's end, each with how often the
    push service's breaker had closed by then. It is `fruitless` when
    somebody was asked in vain who has not said when to be asked again.
    """

    lease: Lease
    ready: list[Recipient] | None = None
    is_mixed: bool = False
    in_flight: int = 0
    exhausted: bool = False
    lost: bool = False
    waits: set[datetime] = field(default_factory=set)
    holds: dict[str, datetime] = field(default_factory=dict)
    refused: list[tuple[Recipient, int]] = field(default_factory=list)
    fruitless: bool = False

    @property
    def may_send(self) -> bool:
        return not (self.exhausted or self.lost) and boot_time() < self.send_until

    @property
    def send_until(self) -> float:
        return self.lease.deadline - LEASE_TO_SPARE.total_seconds()

    @property
    def drained(self) -> bool:
        return not self.in_flight and (self.exhausted or self.lost)

    @property
    def cut_short(self) -> bool:
        """Whether somebody has not been sent to who could have been."""
        return self.ready is None or bool(self.ready)

    def take_back(self, recipient: Recipient) -> None:
        """Have somebody to be sent to again whose message was handed over and not sent."""
        self.in_flight -= 1
        if self.ready is not None:
            self.ready.append(recipient)

    def hold(self, push_service: str, until: datetime) -> None:
        """Leave a push service alone for the rest of the batch's time before `until`."""
        self.holds[push_service] = max(self.holds.get(push_service, until), until)

    def leave(self, bit: int, until: datetime, push_service: str | None = None) -> None:
        """Leave somebody waiting, with all of a push service if one is given.

        Who would wait until after the alert has expired is expired at once.
        """
        if until >= self.lease.alert.expires_at:
            self.lease.settle(bit, "expired")
        elif push_service is None:
            self.waits.add(until)
        else:
            self.hold(push_service, until)

    def pause(self) -> timedelta:
        """How long nobody of those who wait may be tried."""
        if self.cut_short:  # told to leave before its end: others need not wait with the rest
            return timedelta()
        now = self.lease.now()
        return max(min([*self.holds.values(), *self.waits], default=now) - now, timedelta())


class Sent(NamedTuple):
    """A message on its way; `at` is boot time."""

    run: BatchRun
    recipient: Recipient
    at: float

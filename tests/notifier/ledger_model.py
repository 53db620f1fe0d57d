"""The model that the ledger is tested against: what is to be known of batches, messages, alerts.

It keeps, for each batch, what a valid lease has recorded of each member and how the rest ended, and
every message with the claim that it was sent under.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from notifier.alerts import COUNT_OF_ENDING
from notifier.ledger import Lease
from notifier.models import AlertKind, AlertState
from notifier.recipients import Recipient

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
LONGEST_REQUEST = timedelta(seconds=5)


@dataclass
class ModelBatch:
    alert: "ModelAlert"
    members: list[int]
    not_before: datetime
    outcomes: dict[int, str] = field(default_factory=dict)  # by bit, as recorded by valid leases
    rest: str | None = None  # how those without an outcome ended
    is_open: bool = True
    holder: str | None = None  # the token of its last claim, until that is given back
    lease_until: datetime = LONG_AGO
    waiting_at_claim: int = 0
    futile: int = 0
    uncertain: set[int] = field(default_factory=set)  # bits that may have been sent to, for all

    @property
    def waiting(self) -> int:
        return 0 if self.rest else len(self.members) - len(self.outcomes)

    @property
    def futile_with_this(self) -> int:
        """The futile claims in a row, if the present one is over."""
        return self.futile + 1 if self.waiting == self.waiting_at_claim else 0

    def counts(self) -> Counter[str]:
        counts = Counter(self.outcomes.values())
        if self.rest:
            counts[self.rest] += len(self.members) - len(self.outcomes)
        counts["waiting"] = self.waiting
        return +counts

    @property
    def unsettled(self) -> set[int]:
        return set(range(len(self.members))) - self.outcomes.keys()

    @property
    def reached(self) -> set[int]:
        """The bits of those who may have received the alert."""
        accepted = {bit for bit, outcome in self.outcomes.items() if outcome == "accepted"}
        return accepted | self.uncertain

    def is_held(self, now: datetime) -> bool:
        return self.holder is not None and self.lease_until > now

    def close(self, how: str) -> None:
        if self.holder is not None:  # who has died with it
            self.uncertain |= self.unsettled
        self.rest, self.is_open, self.holder = how, False, None


@dataclass
class Message:
    """A push message, and what its sender has been answered."""

    lease: Lease
    recipient: Recipient
    sent_at: datetime
    answer: str | None = None

    @property
    def may_have_arrived(self) -> bool:
        return self.answer in (None, "accepted", "nothing")

    def is_under_way(self, now: datetime) -> bool:
        return self.answer is None and now < self.sent_at + LONGEST_REQUEST


@dataclass
class ModelAlert:
    id: int
    story: int
    revision: int
    kind: AlertKind
    plan_below: int
    expires_at: datetime
    readers: set[int]  # when it was released
    planned: bool = False
    state: AlertState = AlertState.RELEASED
    closing_as: AlertState | None = None
    batches: dict[int, ModelBatch] = field(default_factory=dict)

    def follows(self, other: "ModelAlert") -> bool:
        return self.story == other.story and self.revision > other.revision

    def supersedes(self, other: "ModelAlert") -> bool:
        """Whether none of the other's messages may go out beside it: else the other goes on."""
        return self.follows(other) and (self.kind.corrects or not other.kind.corrects)

    def close(self, state: AlertState, now: datetime) -> None:
        if self.state == AlertState.RELEASED:
            self.state, self.closing_as = AlertState.CLOSING, state
            self.settle_unheld(now)

    def settle_unheld(self, now: datetime) -> None:
        for batch in self.batches.values():
            if self.closing_as and batch.is_open and not batch.is_held(now):
                batch.close(COUNT_OF_ENDING[self.closing_as])
        self.end_if_settled()

    def end_if_settled(self) -> None:
        if self.planned and not any(batch.is_open for batch in self.batches.values()):
            self.state = self.closing_as or AlertState.FINISHED

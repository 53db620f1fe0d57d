"""The ledger: leases batches to workers, and records what became of every reader."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.orm import Session

from notifier import alerts, backlog, findings, latency, planning, poison
from notifier.backlog import Backlog, Due
from notifier.clock import boot_time
from notifier.db import Database, now_of
from notifier.findings import Findings
from notifier.models import COUNTS, OPEN_STATES, Alert, AlertState, Batch, BatchMembers

log = structlog.get_logger()

BATCH_SIZE = 1_000
LEASE = timedelta(seconds=15)
STALL = timedelta(seconds=3)
"""A database that lets somebody wait for longer has failed him, as if it had been away.

The others have had to wait, too, and so their leases only seem to have been given up.
"""

_SAVE = (
    update(Batch)
    .where(Batch.id == bindparam("of_batch"), Batch.claim_token == bindparam("held_with"))
    .returning(Batch.id)
)


class LeaseLost(Exception):
    """Somebody else holds the batch by now, or it has been settled: stop working on it."""


@dataclass(slots=True)
class Lease:
    """A batch that this worker holds until `deadline` (boot-time seconds), and what it found out.

    `settle` changes only this object, and `findings` waits in it; `Ledger.checkpoint` makes both
    last.
    """

    batch_id: int
    token: str
    alert: Alert
    ids: list[int]
    waiting: int
    settled_bits: int
    accepted_bits: int
    uncertain_bits: int
    counts: dict[str, int]
    seconds_to_accept: dict[str, int]
    holds: dict[str, float]
    rounds: int
    claimed_at: datetime  # by the ledger's clock
    claimed_boot_time: float
    deadline: float
    taken_over: bool  # from a worker that has died with it
    closing_as: AlertState | None = None
    findings: Findings = field(default_factory=Findings)
    unsaved: int = 0
    _seconds_before_claim: float = field(init=False)
    _bucket: str = field(init=False, default="")
    _bucket_ends: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        released_at = self.alert.released_at
        self._seconds_before_claim = (self.claimed_at - released_at).total_seconds()

    @property
    def has_news(self) -> bool:
        """Whether there is something that `Ledger.checkpoint` has not made last yet."""
        return bool(self.unsaved or self.findings.answers)

    def now(self) -> datetime:
        """The ledger's time, carried on from the claim by the clock that nobody sets."""
        return self.claimed_at + timedelta(seconds=self._seconds_since_claim())

    def _seconds_since_claim(self) -> float:
        return boot_time() - self.claimed_boot_time

    def is_waiting(self, bit: int) -> bool:
        return not self.settled_bits >> bit & 1

    def settle(self, bit: int, count: str) -> None:
        """Record what became of the subscription at `bit`; `count` is one of COUNTS."""
        if not self.is_waiting(bit):
            raise ValueError(f"bit {bit} of batch {self.batch_id} is settled already")
        self.settled_bits |= 1 << bit
        self.counts[count] += 1
        self.waiting -= 1
        self.unsaved += 1
        if count == "accepted":
            self.accepted_bits |= 1 << bit
            seconds = self._seconds_before_claim + self._seconds_since_claim()
            if seconds > self._bucket_ends:  # time only grows, and most answers share a bucket
                self._bucket = latency.bucket_of(seconds)
                self._bucket_ends = latency.end_of(self._bucket)
            counted = self.seconds_to_accept.get(self._bucket, 0)
            self.seconds_to_accept[self._bucket] = counted + 1

    def note_uncertain(self, bit: int) -> None:
        """Record that the subscription at `bit` may have got the message, accepted or not."""
        self.uncertain_bits |= 1 << bit

    def settle_rest(self, count: str) -> None:
        """Settle everybody who is still waiting."""
        for bit in range(len(self.ids)):
            if self.is_waiting(bit):
                self.settle(bit, count)


class Ledger:
    """What workers and the clock do with batches, in short transactions.

    Whoever ends an alert early settles what nobody holds by `alerts.settle_unheld`.
    """

    def __init__(self, db: Database, *, lease: timedelta = LEASE, batch_size: int = BATCH_SIZE):
        self._db = db
        self._lease = lease
        self._batch_size = batch_size

    def plan(self) -> bool:
        """Plan up to ten batches of the alert that needs it most; False when none can be."""
        return planning.plan(self._db, self._batch_size)

    def claim(self, *, take_over: bool = True, ahead_of: Lease | None = None) -> Lease | None:
        """Lease a due batch: of the most urgent kind, then of the alert that was served least.

        None when nothing is due. A batch whose worker has died is due when its lease ends, unless
        the caller does not want to `take_over` from others, or the database stalls. With
        `ahead_of`, only a batch that goes before the rest of that one: of a more urgent kind, or as
        urgent and left over by the dead, if that one is not.
        """
        kind = None
        if ahead_of is not None:
            kind = ahead_of.alert.kind
            take_over = take_over and not ahead_of.taken_over
        while True:
            began = boot_time()
            with self._db.read() as session:
                candidates = backlog.candidates(session, take_over=take_over, ahead_of=kind)
            if take_over and _has_stalled(began):
                take_over = False
                continue
            if not candidates:
                return None
            for batch_id in candidates:
                # Read before the claim, so that this worker stops before others may start.
                started = boot_time()
                with self._db.write() as session:
                    lease = self._try_claim(session, batch_id, started)
                if lease is not None:
                    return lease
            take_over = take_over and not _has_stalled(began)

    def _try_claim(self, session: Session, batch_id: int, started: float) -> Lease | None:
        now, now_boot_time = now_of(session), boot_time()
        try:
            batch = session.get(Batch, batch_id)
            if batch is None or not batch.is_open:
                return None
            previous = batch.claim_token
            if previous is not None and _has_stalled(started):  # for the right to write
                return None
            futile, uncertain_bits = batch.futile_claims, batch.uncertain_bits
            if previous is not None:
                # Its holder has neither finished nor given it back: whom has it sent to at last?
                futile = poison.futile_claims(batch)
                uncertain_bits |= (1 << batch.size) - 1 & ~batch.settled_bits
            failed = futile >= poison.MOST_FUTILE_CLAIMS
        except poison.DAMAGED as error:
            poison.fail_unread(session, batch_id, error)
            return None
        token = secrets.token_hex(16)
        values = {
            "claim_token": None if failed else token,
            "lease_until": None if failed else now + self._lease,
            "futile_claims": futile,
            "uncertain_bits": uncertain_bits,
            "waiting_at_claim": batch.waiting,
        }
        if failed:
            values |= {"failed": batch.failed + batch.waiting, "waiting": 0, "is_open": False}
        won = session.execute(
            update(Batch)
            .where(
                Batch.id == batch_id,
                Batch.claim_token.is_not_distinct_from(previous),
                backlog.IS_DUE,
                exists().where(Alert.id == Batch.alert_id, Alert.state == AlertState.RELEASED),
            )
            .values(values)
            .returning(Batch.id)
            .execution_options(synchronize_session=False),
            {"now": now},
        ).one_or_none()
        if failed or won is None:
            return None
        try:
            return Lease(
                batch_id=batch_id,
                token=token,
                alert=session.get_one(Alert, batch.alert_id),
                ids=session.get_one(BatchMembers, batch_id).subscription_ids,
                waiting=batch.waiting,
                settled_bits=batch.settled_bits,
                accepted_bits=batch.accepted_bits,
                uncertain_bits=uncertain_bits,
                counts={name: getattr(batch, name) for name in COUNTS},
                seconds_to_accept=dict(batch.seconds_to_accept),
                holds=dict(batch.holds),
                rounds=batch.rounds,
                claimed_at=now,
                claimed_boot_time=now_boot_time,
                deadline=started + self._lease.total_seconds(),
                taken_over=previous is not None,
            )
        except poison.DAMAGED as error:
            # A damaged row must count as a futile claim, or it would crash workers for ever.
            session.refresh(batch)
            poison.give_back(session, batch, error)
            return None

    def checkpoint(self, leases: Sequence[Lease]) -> list[Lease]:
        """Make what the leases found out last, and renew them; answers those that are lost.

        Writes whole bitmaps and counts, so that doing it twice does no harm. Sets `closing_as`
        on the leases of an alert that has been ended early.
        """
        kept: list[Lease] = []
        lost: list[Lease] = []
        started = boot_time()
        with self._db.write(durable=False) as session:
            until = now_of(session) + self._lease
            for lease in leases:
                saved = self._save(session, lease, {"lease_until": until})
                (kept if saved else lost).append(lease)
            alert_ids = {lease.alert.id for lease in leases}
            endings = select(Alert.id, Alert.closing_as).where(Alert.id.in_(alert_ids))
            closing = {row.id: row.closing_as for row in session.execute(endings)}
            findings.record(session, [(lease.alert.id, lease.findings) for lease in kept])
        for lease in leases:
            lease.closing_as = closing[lease.alert.id]
            lease.unsaved = 0
            lease.findings = Findings()
        for lease in kept:
            lease.deadline = started + self._lease.total_seconds()
        return lost

    def finish(
        self,
        lease: Lease,
        *,
        again_in: timedelta = timedelta(),
        fruitless: bool = False,
        holds_more: bool = False,
    ) -> None:
        """Give a lease back: settled, or to be claimed again after `again_in` by its waiting rest.

        Pauses grow with the rounds that were `fruitless`; the first always counts as one, so that
        batches nobody has begun go before what others have left. A caller that `holds_more` of the
        alert spares the look whether that has ended. Raises LeaseLost when it was not held any
        more.
        """
        with self._db.write() as session:
            values: dict[str, object] = {"claim_token": None, "lease_until": None}
            if lease.waiting:
                values |= {
                    "not_before": now_of(session) + again_in,
                    "holds": lease.holds,
                    "rounds": lease.rounds + 1 if fruitless else max(lease.rounds, 1),
                    "futile_claims": 0,
                }
            else:
                values["is_open"] = False
            if not self._save(session, lease, values):
                raise LeaseLost
            findings.record(session, [(lease.alert.id, lease.findings)])
        if not lease.waiting and not holds_more:
            with self._db.write() as session:
                alerts.end_if_settled(session, lease.alert.id)

    def abandon(self, lease: Lease, error: Exception) -> None:
        """Give back a lease whose work has crashed; `error` is shown to ops.

        A claim that settled nobody was futile, and after five of those the rest has failed.
        """
        with self._db.write() as session:
            # Locked, or somebody could claim it between this look and the change.
            batch = session.get(Batch, lease.batch_id, with_for_update=True)
            if batch is None or batch.claim_token != lease.token:
                return
            poison.give_back(session, batch, error)
        with self._db.write() as session:
            alerts.end_if_settled(session, lease.alert.id)

    def due(self, most: int) -> Due:
        """What waits to be worked on now; counts at most `most` batches."""
        with self._db.read() as session:
            return backlog.due(session, most)

    def backlog(self) -> Backlog:
        """All that waits; unlike `due` it counts everything, for people who ask."""
        with self._db.read() as session:
            return backlog.count_all(session)

    def tidy(self) -> None:
        """What only time brings about: alerts expire, and what died in mid-work is closed.

        An alert that cannot be read keeps no other from that; what reading it raises comes last.
        """
        damage: Exception | None = None
        with self._db.read() as session:
            open_ids = session.scalars(select(Alert.id).where(Alert.state.in_(OPEN_STATES))).all()
        for alert_id in open_ids:
            try:
                with self._db.write() as session:
                    self._tidy(session, alert_id)
            except poison.DAMAGED as error:
                log.error("alert_damaged", alert=alert_id, error=type(error).__name__)
                damage = damage or error
        if damage is not None:
            raise damage

    @staticmethod
    def _tidy(session: Session, alert_id: int) -> None:
        columns = select(Alert.closing_as, Alert.expires_at).where(Alert.id == alert_id)
        closing_as, expires_at = session.execute(columns).one()
        if closing_as is not None:
            alerts.settle_unheld(session, alert_id, closing_as)
        elif expires_at <= now_of(session):
            alerts.close(session, alert_id, AlertState.EXPIRED)
        alerts.end_if_settled(session, alert_id)

    @staticmethod
    def _save(session: Session, lease: Lease, values: dict[str, object]) -> bool:
        # Past the ORM, which would look at every one of the values.
        saved = session.connection().execute(
            _SAVE,
            {
                "of_batch": lease.batch_id,
                "held_with": lease.token,
                "waiting": lease.waiting,
                "settled_bits": lease.settled_bits,
                "accepted_bits": lease.accepted_bits,
                "uncertain_bits": lease.uncertain_bits,
                "seconds_to_accept": lease.seconds_to_accept,
                **lease.counts,
                **values,
            },
        )
        return saved.one_or_none() is not None


def _has_stalled(since: float) -> bool:
    return boot_time() - since > STALL.total_seconds()

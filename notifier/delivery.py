"""The loop that joins ledger, push and outcomes: claims batches, sends, settles, checkpoints."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from notifier import recipients
from notifier.alerts import COUNT_OF_ENDING
from notifier.clock import boot_time
from notifier.db import Database
from notifier.health import EndpointHolds, ServiceHealth
from notifier.ledger import Lease, LeaseLost, Ledger
from notifier.messages import Messages
from notifier.notification import Appearance
from notifier.push import Accepted, Gone, Outcome, Rejected, Sender, Throttled, Unreachable
from notifier.push.flow import Flow
from notifier.push_services import GoneEndpoint
from notifier.recipients import Recipient

log = structlog.get_logger()

MOST_LEASES = 32
"""Batches held at once, so that some answers that take seconds do not stall the next batches.

With one answer in a thousand slow, about every batch has one, and a process starts four a second.
"""

LEASE_TO_SPARE = timedelta(seconds=6)
"""No send starts with less lease left: a request takes 5 s at most, and then must be recorded."""

RENEW_WITHIN = timedelta(seconds=9)
"""With less lease left a checkpoint renews it, though there is nothing new to record."""

SENDS_A_CHECKPOINT = 50
CHECKPOINT_SHARE = 20  # a checkpoint may take one part in twenty of the time
CHECKPOINT_AFTER = timedelta(milliseconds=250)
LONGEST_UNSAVED = timedelta(milliseconds=500)
"""What a killed process has sent since its last checkpoint comes twice, so not for longer."""

ONE_SECOND = timedelta(seconds=1)
POLL = timedelta(milliseconds=50)
LOOK_AGAIN_AFTER = timedelta(milliseconds=250)
FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(minutes=1)
LAST_TRY = timedelta(seconds=5)
"""How long before an alert expires a push service that fails is tried once more."""

OUR_FAULT_PERHAPS = (400, 401, 403)


@dataclass(slots=True)
class _Run:
    """One leased batch while it is being sent.

    `ready` are those who are still to be sent to, the last of them first; None: not read yet.
    `is_mixed` says that they are at several push services. Of those who are left waiting, `waits`
    says when single ones may be tried again, and `holds` when everybody of a push service may.
    """

    lease: Lease
    ready: list[Recipient] | None = None
    is_mixed: bool = False
    in_flight: int = 0
    exhausted: bool = False
    lost: bool = False
    waits: set[datetime] = field(default_factory=set)
    holds: dict[str, datetime] = field(default_factory=dict)
    refused: list[Recipient] = field(default_factory=list)

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

    def hold(self, push_service: str, until: datetime) -> None:
        self.holds[push_service] = max(self.holds.get(push_service, until), until)


class Sent(NamedTuple):
    """A message on its way; `at` is boot time."""

    run: _Run
    recipient: Recipient
    at: float


class Delivery:
    """Works on due batches until there are none, or until it is told to leave.

    One instance a process; it is not thread-safe. Every push message of every alert passes
    through `run`.
    """

    def __init__(
        self, db: Database, ledger: Ledger, sender: Sender[Sent], appearance: Appearance
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._sender = sender
        self._messages = Messages(appearance)
        self._health = ServiceHealth(db)
        self._held_endpoints = EndpointHolds()
        self._flows: defaultdict[str, Flow] = defaultdict(Flow)  # by push service
        self._runs: list[_Run] = []
        self._checkpointed_at = boot_time()
        self._checkpoint_took = 0.0
        self._saving = True
        self._look_at = 0.0

    def run(self, work_for: timedelta, keep_going: Callable[[], bool] = lambda: True) -> None:
        """Claim and send for `work_for`, then finish what was claimed and return.

        Returns earlier when nothing is due, or soon after `keep_going` says no: then what has
        not been sent is given back for others to send. Plans alerts that nobody has planned yet,
        so that a new alert never waits for a free worker.
        """
        leave_at = boot_time() + work_for.total_seconds()
        self._look_at = 0.0
        self._saving = True
        try:
            while True:
                going = keep_going()
                if not going:
                    for run in self._runs:
                        run.exhausted = True
                if self._runs:
                    # The ledger's time: a date in Retry-After must not go by this host's clock.
                    now = self._runs[0].lease.now()
                    self._settle_all(self._sender.poll(POLL, now))
                self._fill(may_claim=going and boot_time() < leave_at)
                if not self._runs:
                    return
                self._save(going=going)
                if self._is_paused():
                    time.sleep(POLL.total_seconds())
        except Exception as error:
            self._abandon(error)
            raise

    def _fill(self, *, may_claim: bool) -> None:
        """Hand requests to the sender while it has room, claiming batches as they run out."""
        try:
            while self._saving and self._sender.free > 0:
                run = next((run for run in self._runs if run.may_send), None)
                if run is None:
                    if not (may_claim and self._claim()):
                        return
                elif not self._send_from(run):
                    return
        except (OperationalError, InterfaceError) as error:
            self._pause(error)

    def _send_from(self, run: _Run) -> bool:
        """Hand a batch's recipients to the sender, while it has room and the lease has time.

        False when the next one has to wait for a push service's first answers.
        """
        if run.ready is None:
            run.ready = self._recipients(run)
            run.is_mixed = len({recipient.push_service for recipient in run.ready}) > 1
        now = run.lease.now()
        while run.ready:
            if run.is_mixed and self._must_wait(run.ready[-1].push_service):
                return False
            self._offer(run, run.ready.pop(), now)
            if self._sender.free <= 0 or boot_time() >= run.send_until:
                return True
        run.exhausted = True
        return True

    def _claim(self) -> bool:
        if len(self._runs) >= MOST_LEASES or boot_time() < self._look_at:
            return False
        self._health.sync()
        self._ledger.plan()
        lease = self._ledger.claim()
        if lease is None:
            self._look_at = boot_time() + LOOK_AGAIN_AFTER.total_seconds()
            return False
        self._runs.append(_Run(lease))
        return True

    def _recipients(self, run: _Run) -> list[Recipient]:
        """Those of a batch who wait and may be sent to now, the first of them last."""
        lease = run.lease
        with self._db.read() as session:
            waiting = recipients.read(session, lease)
        for bit in waiting.left:
            lease.settle(bit, "left")
        for bit, held_until in waiting.held:
            self._leave(run, bit, held_until)
        now = lease.now()
        holds = {name: datetime.fromtimestamp(at, UTC) for name, at in lease.holds.items()}
        ready = []
        for recipient in waiting.ready:
            until = holds.get(recipient.push_service)
            if until is not None and until > now:
                run.hold(recipient.push_service, until)
            else:
                ready.append(recipient)
        if lease.rounds:
            # The first of them may be a probe: if it were the same each time, one reader whose
            # messages are always refused would keep the push service closed to all.
            random.shuffle(ready)
        ready.reverse()
        return ready

    def _offer(self, run: _Run, recipient: Recipient, now: datetime) -> None:
        """Send to a recipient, unless time or the push service's state is against it."""
        lease, push_service = run.lease, recipient.push_service
        ttl = (lease.alert.expires_at - now) // ONE_SECOND
        if ttl <= 0:
            lease.settle(recipient.bit, "expired")
        elif self._health.refuses_size(lease.alert.id, push_service):
            lease.settle(recipient.bit, "rejected")
        elif (held_until := self._held_endpoints.hold(recipient.subscription_id, now)) is not None:
            self._leave(run, recipient.bit, held_until)
        elif (held_until := self._health.hold(push_service, now)) is not None:
            self._leave(run, recipient.bit, held_until, push_service)
        elif run.is_mixed and self._crowds(push_service):
            self._leave(run, recipient.bit, _next_try(lease, now), push_service)
        else:
            message = self._messages.of(lease.alert, ttl, declarative=push_service == "apple")
            run.in_flight += 1
            sent = Sent(run, recipient, boot_time())
            self._flows[push_service].sent(sent.at)
            self._sender.submit(sent, recipient.target, message)

    def _must_wait(self, push_service: str) -> bool:
        """Whether a push service has half of the room already, and may yet turn out to be fast."""
        return self._has_half(push_service) and self._flows[push_service].is_unknown(boot_time())

    def _crowds(self, push_service: str) -> bool:
        """Whether a slow push service has half of the room: the rest is for the others."""
        return self._has_half(push_service) and self._flows[push_service].is_slow(boot_time())

    def _has_half(self, push_service: str) -> bool:
        room = self._sender.in_flight + self._sender.free
        return self._flows[push_service].in_flight >= max(1, room // 2)

    def _leave(self, run: _Run, bit: int, until: datetime, push_service: str | None = None) -> None:
        """Leave somebody waiting, with all of a push service if one is given.

        Who would wait until after the alert has expired is expired at once.
        """
        if until >= run.lease.alert.expires_at:
            run.lease.settle(bit, "expired")
        elif push_service is None:
            run.waits.add(until)
        else:
            run.hold(push_service, until)

    def _settle_all(self, answered: Iterable[tuple[Sent, Outcome]]) -> None:
        """Settle all, and only then raise what went wrong with one of them."""
        crash: Exception | None = None
        now = boot_time()
        for sent, outcome in answered:
            sent.run.in_flight -= 1
            self._flows[sent.recipient.push_service].answered(now, sent.at)
            try:
                self._settle(sent.run, sent.recipient, outcome)
            except Exception as error:
                crash = crash or error
        if crash is not None:
            raise crash

    def _settle(self, run: _Run, recipient: Recipient, outcome: Outcome) -> None:
        """Record what became of a message.

        Who is refused for what may be our own fault (400, 401, 403) waits until the batch's end:
        by then it is known whether the push service refuses everybody.
        """
        lease, push_service = run.lease, recipient.push_service
        now = lease.now()
        lease.findings.answers[push_service] += 1
        self._health.note(
            lease.alert.id, push_service, outcome, now, known_bad=recipient.refused_before
        )
        match outcome:
            case Accepted(dropped=dropped):
                lease.settle(recipient.bit, "accepted")
                if dropped:
                    lease.findings.dropped[push_service] += 1
                if recipient.refused_before:
                    lease.findings.taken_again.append(recipient.subscription_id)
            case Gone():
                lease.settle(recipient.bit, "gone")
                lease.findings.gone.append(
                    GoneEndpoint(recipient.subscription_id, recipient.endpoint_hash, push_service)
                )
            case Rejected(status=status) if status in OUR_FAULT_PERHAPS:
                run.refused.append(recipient)
            case Rejected():
                lease.settle(recipient.bit, "rejected")
            case Throttled() | Unreachable():
                self._try_again(run, recipient, outcome, now)

    def _try_again(
        self, run: _Run, recipient: Recipient, outcome: Throttled | Unreachable, now: datetime
    ) -> None:
        lease, subscription_id = run.lease, recipient.subscription_id
        if isinstance(outcome, Unreachable) and outcome.ambiguous:
            lease.note_uncertain(recipient.bit)
        if outcome.retry_after is None:
            self._leave(run, recipient.bit, _next_try(lease, now), recipient.push_service)
        else:
            until = lease.findings.hold(subscription_id, now + outcome.retry_after)
            self._held_endpoints.add(subscription_id, until)
            self._leave(run, recipient.bit, until)

    def _settle_refused(self, run: _Run) -> None:
        """Settle who was refused, but for those whose push service refuses everybody now."""
        for recipient in run.refused:
            held_until = self._health.open_until(recipient.push_service)
            if held_until is not None:
                self._leave(run, recipient.bit, held_until, recipient.push_service)
            else:
                run.lease.settle(recipient.bit, "rejected")
                run.lease.findings.refused.append(recipient.subscription_id)
        run.refused.clear()

    def _save(self, *, going: bool) -> None:
        """Finish the runs that are through, and checkpoint the others when it is time."""
        try:
            if self._checkpoint_is_due():
                self._checkpoint()
                self._saving = True
            if self._saving:
                for run in [run for run in self._runs if run.drained]:
                    self._finish(run)
            if self._health.has_news:
                self._health.sync()
        except SQLAlchemyError as error:
            self._pause(error)
            if not going:
                self._forget_dead_leases()

    def _pause(self, error: SQLAlchemyError) -> None:
        """Send nothing until a checkpoint succeeds: what could not be recorded would come twice."""
        if self._saving:
            log.error("sending_paused", error=type(error).__name__)
        self._saving = False

    def _is_paused(self) -> bool:
        """Whether there is nothing to do but to wait."""
        if self._sender.in_flight or not self._runs:
            return False
        return not (self._saving and any(run.may_send for run in self._runs))

    def _checkpoint_is_due(self) -> bool:
        unsaved = sum(run.lease.unsaved for run in self._runs)
        since = boot_time() - self._checkpointed_at
        if not self._saving:
            return since >= CHECKPOINT_AFTER.total_seconds()
        renew = RENEW_WITHIN.total_seconds()
        if any(not run.lost and run.lease.deadline - boot_time() < renew for run in self._runs):
            return since > POLL.total_seconds()
        if since >= LONGEST_UNSAVED.total_seconds():
            return True
        if since < CHECKPOINT_SHARE * self._checkpoint_took:
            return False
        # Without news, a checkpoint still asks whether somebody has stopped the alert.
        return unsaved >= SENDS_A_CHECKPOINT or since >= CHECKPOINT_AFTER.total_seconds()

    def _checkpoint(self) -> None:
        started = boot_time()
        self._checkpointed_at = started
        held = {run.lease.batch_id: run for run in self._runs if not run.lost}
        to_save = [run.lease for run in held.values() if self._needs_saving(run.lease)]
        # Of each alert at least one, as that also asks whether somebody has stopped it.
        asked = {lease.alert.id for lease in to_save}
        for run in held.values():
            if run.lease.alert.id not in asked:
                asked.add(run.lease.alert.id)
                to_save.append(run.lease)
        for lease in self._ledger.checkpoint(to_save):
            log.warning("lease_lost", batch=lease.batch_id)
            held[lease.batch_id].lost = True
        closing = {lease.alert.id: lease.closing_as for lease in to_save}
        for run in held.values():
            run.lease.closing_as = closing[run.lease.alert.id]
            if run.lease.closing_as is not None:
                run.exhausted = True
                self._recall(run)
        self._health.sync()
        self._checkpointed_at = boot_time()
        self._checkpoint_took = self._checkpointed_at - started

    @staticmethod
    def _needs_saving(lease: Lease) -> bool:
        """Whether a lease has news, or runs out; those with stragglers only seldom do."""
        return lease.has_news or lease.deadline - boot_time() < RENEW_WITHIN.total_seconds()

    def _recall(self, run: _Run) -> None:
        """Take back what has been handed over for a batch and has not been sent yet."""
        for sent in self._sender.recall(lambda sent: sent.run is run):
            run.in_flight -= 1
            self._flows[sent.recipient.push_service].recalled()

    def _finish(self, run: _Run) -> None:
        lease = run.lease
        if not run.lost:
            self._settle_refused(run)
            if lease.closing_as is not None:
                lease.settle_rest(COUNT_OF_ENDING[lease.closing_as])
            now = lease.now()
            lease.holds = {name: until.timestamp() for name, until in run.holds.items()}
            pause = min([*run.holds.values(), *run.waits], default=now) - now
            if run.cut_short:  # told to leave before its end: others need not wait with the rest
                pause = timedelta()
            try:
                self._ledger.finish(lease, again_in=max(pause, timedelta()))
            except LeaseLost:
                log.warning("lease_lost", batch=lease.batch_id)
            if lease.closing_as is not None:
                self._look_at = 0.0  # what it was closed for can go out now
        self._runs.remove(run)

    def _forget_dead_leases(self) -> None:
        """Leave without what could not be recorded.

        Otherwise it is kept, however long the database is away: nothing more is sent without a
        lease, and what was sent will not be sent again if nobody else has claimed the batch.
        """
        for run in self._runs:
            if boot_time() >= run.lease.deadline:
                run.lost = True
        self._runs = [run for run in self._runs if run.in_flight or not run.lost]

    def _abandon(self, error: Exception) -> None:
        """Give everything back after a crash, and forget the answers that are still to come."""
        runs, self._runs = self._runs, []
        while self._sender.in_flight:
            with suppress(Exception):  # it has crashed already, and the other answers count
                self._settle_all(self._sender.poll(POLL))
        for run in runs:
            try:
                self._ledger.checkpoint([run.lease])
                self._ledger.abandon(run.lease, error)
            except SQLAlchemyError as failure:
                # The lease runs out by itself then, and counts as a claim that failed.
                log.error("abandon_failed", batch=run.lease.batch_id, error=type(failure).__name__)


def _next_try(lease: Lease, now: datetime) -> datetime:
    """When to try again where nobody has said when: once more before the alert expires, too."""
    until = now + _backoff(lease.rounds)
    last = lease.alert.expires_at - LAST_TRY
    return last if now < last < until else until


def _backoff(rounds: int) -> timedelta:
    """How long to wait after the given number of fruitless rounds: doubling, with jitter."""
    pause: timedelta = min(FIRST_RETRY * 2 ** min(rounds, 10), LONGEST_RETRY)
    return pause * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing

"""The loop that joins ledger, push and outcomes: claims batches, sends, settles, checkpoints."""

import math
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from notifier import recipients
from notifier.alerts import COUNT_OF_ENDING
from notifier.batch_run import LEASE_TO_SPARE, BatchRun, Sent
from notifier.checkpoints import Checkpoints, is_needed
from notifier.clock import boot_time
from notifier.db import Database, is_outage
from notifier.health import EndpointHolds, ServiceHealth
from notifier.ledger import STALL, Lease, LeaseLost, Ledger
from notifier.messages import Messages
from notifier.notification import Appearance
from notifier.outcomes import Outcomes, next_try
from notifier.push import Outcome, Sender
from notifier.push.flow import Flows
from notifier.recipients import Recipient

log = structlog.get_logger()

MOST_LEASES = 32
"""Batches held at once, so that some answers that take seconds do not stall the next batches.

With one answer in a thousand slow, about every batch has two, and a process starts three a second.
"""

TAKES_OVER_AFTER = timedelta(seconds=3)
"""After a failure of the database others get so long to record what they have sent.

All leases may have run out meanwhile, and who comes back first would send it again.
"""

ONE_SECOND = timedelta(seconds=1)
POLL = timedelta(milliseconds=50)
LOOK_AGAIN_AFTER = timedelta(milliseconds=250)
HEAR_OTHERS_EVERY = timedelta(milliseconds=250)
OVERTAKEN_AFTER = ONE_SECOND
"""A batch that goes out slowly is asked so often whether another is to go before its rest."""


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
        self._outcomes = Outcomes(self._health, self._held_endpoints)
        self._flows = Flows()
        self._runs: list[BatchRun] = []
        self._checkpoints = Checkpoints()
        self._paused = False
        self._failed_at = -math.inf
        self._awake_at = 0.0
        self._look_again_at = 0.0
        self._looked_at = 0.0
        self._synced_at = -math.inf
        self._keep_going: Callable[[], bool] = lambda: True
        self._call_others: Callable[[], object] = lambda: None

    def run(
        self,
        work_for: timedelta,
        keep_going: Callable[[], bool] = lambda: True,
        call_others: Callable[[], object] = lambda: None,
    ) -> None:
        """Plan, claim and send for `work_for`, then finish what was claimed and return.

        Returns earlier when nothing is due, or soon after `keep_going` says no: then what has
        not been sent is given back for others to send. Alerts are planned a step at a time,
        before each look for another batch. `call_others` is called when there is suddenly
        something for others, too; nothing of this process is on its way then, so it may take a
        moment.
        """
        leave_at = boot_time() + work_for.total_seconds()
        self._keep_going = keep_going
        self._call_others = call_others
        self._look_again_at = 0.0
        self._synced_at = -math.inf
        self._awake_at = boot_time()  # what others do between runs is no stall
        self._paused = False
        try:
            while True:
                self._note_stall()
                going = keep_going()
                for run in self._runs:
                    if not going:
                        run.exhausted = True
                    if not going or boot_time() >= run.send_until:
                        self._recall(run)
                if self._runs:
                    # The ledger's time: a date in Retry-After must not go by this host's clock.
                    now = self._runs[0].lease.now()
                    self._settle_all(self._sender.poll(POLL, now))
                self._fill(going=going, may_claim=going and boot_time() < leave_at)
                if not self._runs:
                    self._note_stall()
                    return
                self._save(going=going)
                if self._has_only_to_wait():
                    time.sleep(POLL.total_seconds())
        except Exception as error:
            self._abandon(error)
            raise

    def _fill(self, *, going: bool, may_claim: bool) -> None:
        """Hand requests to the sender while it has room, claiming batches as they run out."""
        try:
            while not self._paused and self._sender.free > 0:
                run = next((run for run in self._runs if run.may_send), None)
                if run is None:
                    if not (may_claim and self._claim()):
                        return
                elif going and self._claim_ahead_of(run):
                    continue
                elif not self._send_from(run):
                    return
        except DBAPIError as error:
            if not is_outage(error):
                raise
            self._pause(error)

    def _send_from(self, run: BatchRun) -> bool:
        """Hand a batch's recipients to the sender, while it has room and the lease has time.

        False when the next one has to wait for a push service's first answers.
        """
        if run.ready is None:
            try:
                run.ready = self._recipients(run)
            except (LookupError, TypeError, ValueError) as error:  # its rows are damaged
                self._give_up(run, error)
                return True
            run.is_mixed = len({recipient.push_service for recipient in run.ready}) > 1
        now = run.lease.now()
        while run.ready:
            if run.is_mixed and self._flows.must_wait(
                run.ready[-1].push_service, self._room, boot_time()
            ):
                return False
            self._offer(run, run.ready[-1], now)
            run.ready.pop()  # not before, as an outage can come between
            if self._sender.free <= 0 or boot_time() >= run.send_until:
                return True
        run.exhausted = True
        return True

    def _give_up(self, run: BatchRun, error: Exception) -> None:
        """Give a batch back by itself, as nobody else's work has failed."""
        log.error("batch_crashed", batch=run.lease.batch_id, exc_info=error)
        self._runs.remove(run)
        self._ledger.abandon(run.lease, error)

    def _claim_ahead_of(self, run: BatchRun) -> bool:
        """Claim what is to go out before the rest of a batch, such as a withdrawal."""
        if boot_time() - self._looked_at < OVERTAKEN_AFTER.total_seconds():
            return False
        return self._claim(ahead_of=run.lease)

    def _claim(self, *, ahead_of: Lease | None = None) -> bool:
        if len(self._runs) >= MOST_LEASES or boot_time() < self._look_again_at:
            return False
        self._looked_at = boot_time()
        self._sync_health()
        lease = self._next_lease(ahead_of)
        if lease is not None:
            self._runs.insert(0, BatchRun(lease))
        elif ahead_of is None:
            self._look_again_at = boot_time() + LOOK_AGAIN_AFTER.total_seconds()
        return lease is not None

    def _next_lease(self, ahead_of: Lease | None) -> Lease | None:
        if self._runs:
            self._ledger.plan()
            return self._ledger.claim(take_over=self._may_take_over(), ahead_of=ahead_of)
        # What others have planned goes out at once, before more is planned.
        lease = self._ledger.claim(take_over=self._may_take_over())
        while lease is None and self._keep_going() and self._ledger.plan():
            lease = self._ledger.claim(take_over=self._may_take_over())
            if lease is not None:
                self._call_others()
        return lease

    def _may_take_over(self) -> bool:
        """Whether to claim what others hold whose lease has run out."""
        self._note_stall()
        return boot_time() - self._failed_at >= TAKES_OVER_AFTER.total_seconds()

    def _note_stall(self) -> None:
        """Count a stall since the last call as a failure of the database."""
        awake_at, self._awake_at = self._awake_at, boot_time()
        if self._awake_at - awake_at > STALL.total_seconds():
            self._failed_at = self._awake_at

    def _recipients(self, run: BatchRun) -> list[Recipient]:
        """Those of a batch who wait and may be sent to now, the first of them last."""
        lease = run.lease
        with self._db.read() as session:
            waiting = recipients.read(session, lease)
        for bit in waiting.left:
            lease.settle(bit, "left")
        for bit, held_until in waiting.held:
            run.leave(bit, held_until)
        now = lease.now()
        holds = {name: datetime.fromtimestamp(at, UTC) for name, at in lease.holds.items()}
        ready = []
        for recipient in waiting.ready:
            until = holds.get(recipient.push_service)
            if until is not None and until > now:
                run.hold(recipient.push_service, until)
            else:
                ready.append(recipient)
        # The first at each push service may be a probe: a few readers whom nothing ever reaches
        # must not keep it closed to all.
        if lease.rounds:
            random.shuffle(ready)
        probes = {one.push_service: one for one in reversed(ready) if not one.refused_before}
        ready.sort(key=lambda one: probes.get(one.push_service) is not one)
        ready.reverse()
        return ready

    def _offer(self, run: BatchRun, recipient: Recipient, now: datetime) -> None:
        """Send to a recipient, unless time or the push service's state is against it."""
        lease, push_service = run.lease, recipient.push_service
        ttl = (lease.alert.expires_at - now) // ONE_SECOND
        if ttl <= 0:
            lease.settle(recipient.bit, "expired")
        elif self._health.refuses_size(lease.alert.id, push_service):
            lease.settle(recipient.bit, "rejected")
        elif (held_until := self._held_endpoints.hold(recipient.endpoint_hash, now)) is not None:
            run.leave(recipient.bit, held_until)
        elif (held_until := self._health.hold(push_service, now)) is not None:
            run.leave(recipient.bit, held_until, push_service)
        elif run.is_mixed and self._flows.crowds(push_service, self._room, boot_time()):
            # Soon, as nothing was fruitless: it is slow, and has as much as it is to have.
            run.leave(recipient.bit, next_try(lease, now, rounds=0), push_service)
        else:
            message = self._messages.of(lease.alert, ttl, declarative=push_service == "apple")
            run.in_flight += 1
            sent = Sent(run, recipient, boot_time())
            self._flows.sent(push_service, sent.at)
            self._sender.submit(sent, recipient.target, message)

    @property
    def _room(self) -> int:
        return self._sender.in_flight + self._sender.free

    def _settle_all(self, answered: Iterable[tuple[Sent, Outcome]]) -> None:
        """Settle all, and only then raise what went wrong with one of them."""
        crash: Exception | None = None
        now = boot_time()
        for sent, outcome in answered:
            sent.run.in_flight -= 1
            self._flows.answered(sent.recipient.push_service, now, sent.at)
            try:
                self._outcomes.settle(sent.run, sent.recipient, outcome)
            except Exception as error:
                crash = crash or error
        if crash is not None:
            raise crash

    def _save(self, *, going: bool) -> None:
        """Finish the runs that are through, and checkpoint the others when it is time."""
        try:
            held = [run.lease for run in self._runs if not run.lost]
            if self._checkpoints.is_due(held, is_retry=self._paused):
                with self._checkpoints.timed():
                    self._checkpoint()
                self._paused = False
            if not self._paused:
                for run in [run for run in self._runs if run.drained]:
                    self._finish(run)
            self._sync_health()
        except DBAPIError as error:
            if not is_outage(error):
                raise  # waiting does not help what cannot be recorded
            self._pause(error)
            if not going:
                self._forget_dead_leases()

    def _pause(self, error: SQLAlchemyError) -> None:
        """Send nothing until a checkpoint succeeds: what could not be recorded would come twice."""
        if not self._paused:
            log.error("sending_paused", error=type(error).__name__)
            for run in self._runs:
                self._recall(run)
        self._paused = True
        self._failed_at = boot_time()

    def _has_only_to_wait(self) -> bool:
        """Whether there is nothing to do but to wait."""
        if self._sender.in_flight or not self._runs:
            return False
        return self._paused or not any(run.may_send for run in self._runs)

    def _checkpoint(self) -> None:
        held = {run.lease.batch_id: run for run in self._runs if not run.lost}
        to_save = [run.lease for run in held.values() if is_needed(run.lease)]
        # Of each alert at least one, as that also asks whether somebody has stopped it.
        asked = {lease.alert.id for lease in to_save}
        for run in held.values():
            if run.lease.alert.id not in asked:
                asked.add(run.lease.alert.id)
                to_save.append(run.lease)
        for lease in self._ledger.checkpoint(to_save):
            log.warning("lease_lost", batch=lease.batch_id)
            held[lease.batch_id].lost = True
            self._recall(held[lease.batch_id])
        closing = {lease.alert.id: lease.closing_as for lease in to_save}
        for run in held.values():
            run.lease.closing_as = closing[run.lease.alert.id]
            if run.lease.closing_as is not None:
                run.exhausted = True
                self._recall(run)

    def _sync_health(self) -> None:
        """Tell other processes what has been found out of push services; hear them now and then."""
        overdue = boot_time() - self._synced_at >= HEAR_OTHERS_EVERY.total_seconds()
        if overdue or self._health.has_news:
            self._health.sync()
            self._synced_at = boot_time()

    def _recall(self, run: BatchRun) -> None:
        """Take back what has been handed over for a batch and has not been sent yet."""
        for sent in self._sender.recall(lambda sent: sent.run is run):
            run.take_back(sent.recipient)
            self._flows.recalled(sent.recipient.push_service)

    def _finish(self, run: BatchRun) -> None:
        lease = run.lease
        if not run.lost:
            self._outcomes.settle_refused(run)
            if lease.closing_as is not None:
                lease.settle_rest(COUNT_OF_ENDING[lease.closing_as])
            lease.holds = {name: until.timestamp() for name, until in run.holds.items()}
            others = [other for other in self._runs if other is not run and not other.lost]
            try:
                self._ledger.finish(
                    lease,
                    again_in=run.pause(),
                    fruitless=run.fruitless,
                    holds_more=any(other.lease.alert.id == lease.alert.id for other in others),
                )
            except LeaseLost:
                log.warning("lease_lost", batch=lease.batch_id)
            if lease.closing_as is not None:
                self._look_again_at = 0.0  # what it was closed for can go out now
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
        with suppress(Exception):
            for run in runs:
                self._recall(run)
        answered_by = boot_time() + LEASE_TO_SPARE.total_seconds()
        while self._sender.in_flight and boot_time() < answered_by:
            try:
                self._settle_all(self._sender.poll(POLL))
            except Exception:  # it has crashed already, and the other answers count
                time.sleep(POLL.total_seconds())
        self._flows = Flows()  # what was handed over may never have been sent
        for run in runs:
            try:
                self._ledger.checkpoint([run.lease])
                self._ledger.abandon(run.lease, error)
            except SQLAlchemyError as failure:
                # The lease runs out by itself then, and counts as a claim that failed.
                log.error("abandon_failed", batch=run.lease.batch_id, error=type(failure).__name__)

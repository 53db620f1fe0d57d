"""The ledger against a model of it: whatever workers, editors, readers and time do, nobody is lost.

Time passes only when the machine lets it.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledger_model import LONG_AGO, Message, ModelAlert, ModelBatch
from publication import Publication
from sqlalchemy import select

from notifier import recipients
from notifier.alerts import COUNT_OF_ENDING
from notifier.batch_run import BatchRun
from notifier.db import Database
from notifier.errors import Conflict
from notifier.ledger import (
    LEASE,
    Lease,
    LeaseLost,
    Ledger,
)
from notifier.models import COUNTS, Alert, AlertKind, AlertState, Batch, BatchMembers, Subscription
from notifier.planning import BATCHES_A_STEP, LATER_BATCHES
from notifier.poison import MOST_FUTILE_CLAIMS, RETRY_AFTER_A_CRASH
from notifier.push_services import GoneEndpoint
from notifier.reached import bits as reached_bits

T = TypeVar("T")
BATCH_SIZE = 2
VALIDITY = timedelta(minutes=2)
LEASE_TO_SPARE = timedelta(seconds=6)  # not the engine's own, which may be wrong


class Clock:
    """The time, for the ledger's clock and the workers' alike."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.boot = 1000.0

    def advance(self, by: timedelta) -> None:
        self.now += by
        self.boot += by.total_seconds()


def one_of(data: st.DataObject, choices: Sequence[T]) -> T:
    """Drawn by its number, as a report of a failure would be hard to read with whole leases."""
    return choices[data.draw(st.integers(0, len(choices) - 1))]


class LedgerMachine(RuleBasedStateMachine):
    """Steps bring about what they need, as Hypothesis leaves a choice of rules out of each run."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        memory = Path("/dev/shm")  # noqa: S108 - only to spare the disk
        folder = tempfile.mkdtemp(dir=memory if memory.is_dir() else None)
        self.stack.callback(shutil.rmtree, folder)
        path = Path(folder) / "ledger.sqlite3"
        shutil.copyfile(self.template, path)
        self.db = Database(f"sqlite:///{path}")
        self.stack.callback(self.db.close)
        self.clock = Clock()
        for name in ("ledger", "poison", "backlog", "alerts", "planning"):
            now_of = patch(f"notifier.{name}.now_of", lambda _: self.clock.now)
            self.stack.enter_context(now_of)
        for name in ("batch_run", "ledger", "delivery"):
            boot_time = patch(f"notifier.{name}.boot_time", lambda: self.clock.boot)
            self.stack.enter_context(boot_time)
        self.publication = Publication(self.db)
        self.ledger = Ledger(self.db, batch_size=BATCH_SIZE)
        self.readers: list[int] = []
        self.alerts: dict[int, ModelAlert] = {}
        self.batches: dict[int, ModelBatch] = {}
        self.leases: list[Lease] = []  # of workers that are alive, valid or not
        self.found: dict[str, dict[int, str]] = {}  # what they found out, by token and bit
        self.unsure: dict[str, set[int]] = {}  # whom they got no answer for, by token
        self.messages: list[Message] = []
        self.holds: dict[int, datetime] = {}  # until when a reader is left alone, as recorded
        self.unrecorded_holds: dict[str, dict[int, datetime]] = {}  # by token and reader

    def teardown(self) -> None:
        with self.stack:
            if sys.exc_info()[0] is None:  # the machine's own failure tells more
                self.drain()

    # Readers and editors

    @initialize()
    def begin(self) -> None:
        self.readers += self.publication.add_readers(7)
        self.release(data=None, kind=AlertKind.BREAKING)

    @rule(count=st.integers(1, 4))
    def opt_in(self, count: int) -> None:
        self.readers += self.publication.add_readers(count)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def opt_out(self, data: st.DataObject) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        self.readers.remove(reader)
        with self.db.write() as session:
            session.delete(session.get_one(Subscription, reader))

    @precondition(lambda self: len(self.alerts) < 5)
    @rule(data=st.data(), kind=st.sampled_from(AlertKind))
    def release(self, data: st.DataObject | None, kind: AlertKind) -> None:
        stories = sorted({alert.story for alert in self.alerts.values()})
        story = data.draw(st.sampled_from([None, *stories])) if data else None
        row = self.publication.release(story_id=story, kind=kind, validity=VALIDITY)
        below = self.publication.alert(row.id).plan_below
        assert below > max(self.readers, default=0)
        expires_at, readers = self.clock.now + VALIDITY, set(self.readers)
        alert = ModelAlert(row.id, row.story_id, row.revision, kind, below, expires_at, readers)
        for earlier in self.alerts.values():
            if alert.supersedes(earlier):
                earlier.close(AlertState.SUPERSEDED, self.clock.now)
        self.alerts[alert.id] = alert

    @precondition(lambda self: not self.is_any_stopped())  # or too little is left to send
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        alert = self.alerts[data.draw(st.sampled_from(sorted(self.alerts)))]
        if alert.state == AlertState.RELEASED:
            self.publication.stop(alert.id)
            alert.close(AlertState.STOPPED, self.clock.now)
        else:
            with pytest.raises(Conflict):
                self.publication.stop(alert.id)

    # Workers

    @rule()
    def plan(self) -> None:
        before = {alert.id: set(alert.batches) for alert in self.alerts.values()}
        needed = [alert for alert in self.alerts.values() if self.is_plannable(alert)]

        assert self.ledger.plan() == bool(needed)

        found = self.read_batches()
        changed = [
            alert for alert in needed if found.get(alert.id, {}).keys() != before[alert.id]
        ] or [alert for alert in needed if self.publication.alert(alert.id).planned_at]
        assert len(changed) == bool(needed)
        for alert in changed:
            assert alert.closing_as is None or all(one.closing_as for one in needed)
            audience = set(self.readers)
            if alert.kind.corrects:
                earlier = self.earlier_than(alert)
                for one in earlier:
                    one.settle_unheld(self.clock.now)
                batches = [batch for one in earlier for batch in one.batches.values()]
                audience = {batch.members[bit] for batch in batches for bit in batch.reached}
            wanted = sorted((row for row in audience if row < alert.plan_below), reverse=True)
            size = LATER_BATCHES * BATCH_SIZE if before[alert.id] else BATCH_SIZE
            step = wanted[: size * BATCHES_A_STEP]
            new = sorted(found.get(alert.id, {}).keys() - before[alert.id])
            assert [row for batch_id in new for row in found[alert.id][batch_id]] == step
            for batch_id in new:
                members = found[alert.id][batch_id]
                assert 0 < len(members) <= size
                batch = ModelBatch(alert, members, self.clock.now)
                if alert.closing_as is not None:  # counted as what has become of it
                    batch.close(COUNT_OF_ENDING[alert.closing_as])
                self.batches[batch_id] = alert.batches[batch_id] = batch
            alert.plan_below = step[-1] if step else alert.plan_below
            alert.planned = len(step) < size * BATCHES_A_STEP
            alert.end_if_settled()

    @rule()
    def claim(self) -> None:
        if not any(self.is_due(batch) for batch in self.batches.values()):
            self.plan()
        due = {batch_id for batch_id, batch in self.batches.items() if self.is_due(batch)}

        lease = self.ledger.claim()

        for batch_id in set(due):
            batch = self.batches[batch_id]
            # A poisoned batch fails when a claim comes across it.
            if not self.publication.batch(batch_id).is_open:
                assert batch.holder is not None
                assert batch.futile_with_this >= MOST_FUTILE_CLAIMS
                batch.close("failed")  # its holder's death was the last of several
                due.remove(batch_id)
        if lease is None:
            assert not due
            return
        assert lease.batch_id in due
        urgency = {AlertKind.WITHDRAWAL: 0, AlertKind.CORRECTION: 1}
        assert urgency.get(lease.alert.kind, 2) == min(
            urgency.get(self.batches[batch_id].alert.kind, 2) for batch_id in due
        )
        batch = self.batches[lease.batch_id]
        assert lease.ids == batch.members
        settled = {bit for bit in range(len(lease.ids)) if not lease.is_waiting(bit)}
        assert settled == set(batch.outcomes), "nobody who is settled is sent to again"
        assert lease.waiting == batch.waiting
        if batch.holder is not None:
            batch.futile = batch.futile_with_this
            batch.uncertain |= batch.unsettled
        assert batch.futile < MOST_FUTILE_CLAIMS
        batch.holder, batch.lease_until = lease.token, self.clock.now + LEASE
        batch.waiting_at_claim = batch.waiting
        assert lease.deadline == self.clock.boot + LEASE.total_seconds()
        self.found[lease.token] = dict(batch.outcomes)
        self.unsure[lease.token] = set(batch.uncertain)
        self.unrecorded_holds[lease.token] = {}
        self.leases.append(lease)

    @rule(data=st.data(), is_free=st.booleans())
    def send(self, data: st.DataObject, is_free: bool) -> None:
        if is_free or not self.leases:
            self.claim()
        if self.leases:
            for message in self.send_of(one_of(data, self.leases)):
                if data.draw(st.booleans()):
                    self.answer_with(message, "accepted")

    @rule(left=st.sampled_from([7, 6, 1]))
    def send_late(self, left: int) -> None:
        """With so many seconds of the lease left, to be answered four later; six are too few."""
        self.claim()
        if self.leases:
            lease = self.leases[-1]
            too_early = lease.deadline - self.clock.boot - left
            self.clock.advance(timedelta(seconds=max(too_early, 0)))
            self.send_of(lease)
            self.clock.advance(timedelta(seconds=4))

    @rule(data=st.data(), answer=st.sampled_from(["accepted", "gone", "rejected"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        message = self.sent_message(data)
        if message is not None:
            self.answer_with(message, answer)

    @rule(data=st.data(), retry_after=st.sampled_from([5, 40, 600]), at_once=st.booleans())
    def throttle(self, data: st.DataObject, retry_after: int, at_once: bool) -> None:
        """A hold that is not recorded `at_once` is lost if the worker dies before."""
        message = self.sent_message(data)
        if message is None:
            return
        lease, (bit, reader, endpoint_hash, *_) = message.lease, message.recipient
        asked = self.clock.now + timedelta(seconds=retry_after)
        until = lease.findings.hold(reader, endpoint_hash, asked)
        assert asked <= until <= asked + timedelta(seconds=1)
        lease.findings.answers["mozilla"] += 1
        self.unrecorded_holds[lease.token][reader] = until
        message.answer = "throttled"
        if until >= lease.alert.expires_at:
            self.settle(lease, bit, "expired")
        if at_once and self.checkpoint_of(lease) is None:
            self.leases.remove(lease)

    @rule(data=st.data())
    def get_no_answer(self, data: st.DataObject) -> None:
        message = self.sent_message(data)
        if message is None:
            return
        message.lease.note_uncertain(message.recipient.bit)
        self.unsure[message.lease.token].add(message.recipient.bit)
        message.answer = "nothing"

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        lease = one_of(data, self.leases)
        if self.checkpoint_of(lease) is None:
            self.leases.remove(lease)

    @precondition(lambda self: self.drained())
    @rule(data=st.data(), again_in=st.sampled_from([timedelta(), timedelta(seconds=20)]))
    def finish(self, data: st.DataObject, again_in: timedelta) -> None:
        self.finish_of(one_of(data, self.drained()), again_in)

    @precondition(lambda self: self.drained())
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        """What a worker does whose code has crashed: record what is known, give back the rest."""
        lease = one_of(data, self.drained())
        batch = self.checkpoint_of(lease)
        self.ledger.abandon(lease, RuntimeError("crash"))
        self.leases.remove(lease)
        if batch is None:
            return
        batch.futile, batch.holder = batch.futile_with_this, None  # it has not died
        batch.not_before = self.clock.now + RETRY_AFTER_A_CRASH
        if batch.futile >= MOST_FUTILE_CLAIMS:
            batch.close("failed")
        batch.alert.end_if_settled()

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """What it has found out since its last checkpoint is lost, and all answers to come."""
        self.leases.remove(one_of(data, self.leases))

    @rule(by=st.sampled_from([1, 4, 8, 16]))
    def wait(self, by: int) -> None:
        self.clock.advance(timedelta(seconds=by))

    @rule()
    def tidy(self) -> None:
        self.ledger.tidy()
        for alert in self.alerts.values():
            if alert.expires_at <= self.clock.now:
                alert.close(AlertState.EXPIRED, self.clock.now)
            alert.settle_unheld(self.clock.now)

    # What must be true after each step

    @invariant()
    def the_sum_holds_and_everybody_is_where_the_model_has_them(self) -> None:
        with self.db.read() as session:
            rows = session.scalars(select(Batch)).all()
            states = {row.id: row.state for row in session.scalars(select(Alert))}
        assert {row.id for row in rows} == set(self.batches)
        for row in rows:
            batch = self.batches[row.id]
            counts = Counter({name: getattr(row, name) for name in (*COUNTS, "waiting")})
            assert counts.total() == row.size == len(batch.members)
            assert +counts == batch.counts()
            assert row.is_open == batch.is_open
            accepted = {bit for bit, outcome in batch.outcomes.items() if outcome == "accepted"}
            assert row.accepted_bits == sum(1 << bit for bit in accepted)
            assert reached_bits(row) == sum(1 << bit for bit in batch.reached)
            assert sum(row.seconds_to_accept.values()) == len(accepted)
        assert states == {alert.id: alert.state for alert in self.alerts.values()}
        for alert in self.alerts.values():
            if alert.state.final:
                assert not any(batch.waiting for batch in alert.batches.values())
        self.messages_go_out_under_a_lease({row.id: row for row in rows})

    def messages_go_out_under_a_lease(self, rows: dict[int, Batch]) -> None:
        now = self.clock.now
        under_way = [message for message in self.messages if message.is_under_way(now)]
        for message in under_way:
            row = rows[message.lease.batch_id]
            assert row.claim_token == message.lease.token, "its sender holds the batch"
            assert row.lease_until is not None
            assert row.lease_until > now
        for one, other in combinations(under_way, 2):
            if one.lease.batch_id == other.lease.batch_id:
                assert one.lease is other.lease, "nobody else sends for the batch meanwhile"
            alerts = [self.alerts[message.lease.alert.id] for message in (one, other)]
            assert not alerts[0].supersedes(alerts[1])
            assert not alerts[1].supersedes(alerts[0])
        for message in self.messages:
            row = rows[message.lease.batch_id]
            if message.may_have_arrived and row.claim_token != message.lease.token:
                assert reached_bits(row) >> message.recipient.bit & 1, "a correction would go to it"

    def drain(self) -> None:
        """In the end all workers die, others work on until holds and alerts are over."""
        self.leases.clear()
        end = self.clock.now + VALIDITY + 2 * LEASE
        while not all(alert.state.final for alert in self.alerts.values()):
            assert self.clock.now < end, "somebody waits for ever"
            self.clock.advance(LEASE)
            self.tidy()
            while any(self.is_plannable(alert) for alert in self.alerts.values()):
                self.plan()
            while any(self.is_due(batch) for batch in self.batches.values()):
                self.claim()
                for lease in list(self.leases):
                    for message in self.send_of(lease):
                        self.answer_with(message, "accepted")
                    self.finish_of(lease, LEASE)
        self.the_sum_holds_and_everybody_is_where_the_model_has_them()
        for alert in self.alerts.values():
            self.nobody_is_lost(alert)

    def nobody_is_lost(self, alert: ModelAlert) -> None:
        """Whom the alert was for has been settled, and once.

        Here the readers and the messages say whom it was for, not what was planned.
        """
        settled = Counter[int]()
        for batch in alert.batches.values():
            of_rest = batch.unsettled if batch.rest else set()
            settled.update(batch.members[bit] for bit in [*batch.outcomes, *of_rest])
        assert settled.total() == len(settled), "nobody is in two batches"
        if alert.kind.corrects:
            concerned = {
                message.recipient.subscription_id
                for message in self.messages
                if message.may_have_arrived and alert.follows(self.alerts[message.lease.alert.id])
            }
        else:
            concerned = alert.readers & set(self.readers)
        assert concerned <= settled.keys()

    # Helpers

    def send_of(self, lease: Lease) -> list[Message]:
        """Send to everybody of a batch who may be sent to and has not been under this claim.

        Delivery reads them once a claim; here they are read again each time, as what is recorded
        must be heeded whenever they are read.
        """
        batch, now = self.batches[lease.batch_id], self.clock.now
        is_held = batch.holder == lease.token and batch.lease_until - now > LEASE_TO_SPARE
        assert BatchRun(lease).may_send == is_held
        if not is_held or lease.closing_as is not None:  # which it has learnt at a checkpoint
            return []
        with self.db.read() as session:
            found = recipients.read(session, lease)
        waiting = set(range(len(batch.members))) - self.found[lease.token].keys()
        left = {bit for bit in waiting if batch.members[bit] not in self.readers}
        held = {
            bit: self.holds[batch.members[bit]]
            for bit in waiting - left
            if self.holds.get(batch.members[bit], LONG_AGO) > now
        }
        assert set(found.left) == left
        assert dict(found.held) == held
        assert [one.bit for one in found.ready] == sorted(waiting - left - held.keys())
        assert [one.subscription_id for one in found.ready] == [
            batch.members[one.bit] for one in found.ready
        ]
        tried = {one.recipient.bit for one in self.messages if one.lease is lease}
        for bit in left - tried:
            self.settle(lease, bit, "left")
        ready = [one for one in found.ready if one.bit not in tried]
        if batch.alert.expires_at <= now:
            for recipient in ready:
                self.settle(lease, recipient.bit, "expired")
            return []
        sent = [Message(lease, recipient, now) for recipient in ready]
        self.messages += sent
        self.the_sum_holds_and_everybody_is_where_the_model_has_them()  # while all are under way
        return sent

    def answer_with(self, message: Message, answer: str) -> None:
        lease, (bit, reader, endpoint_hash, *_) = message.lease, message.recipient
        message.answer = answer
        self.settle(lease, bit, answer)
        lease.findings.answers["mozilla"] += 1
        if answer == "gone":
            lease.findings.gone.append(GoneEndpoint(reader, endpoint_hash, "mozilla"))

    def settle(self, lease: Lease, bit: int, outcome: str) -> None:
        lease.settle(bit, outcome)
        self.found[lease.token][bit] = outcome

    def checkpoint_of(self, lease: Lease) -> ModelBatch | None:
        """Checkpoint; the batch if the lease was valid, else nothing may have changed."""
        batch = self.batches[lease.batch_id]
        is_valid = batch.holder == lease.token
        assert self.ledger.checkpoint([lease]) == ([] if is_valid else [lease])
        if not is_valid:
            return None
        self.record(lease)
        batch.lease_until = self.clock.now + LEASE
        assert lease.closing_as == batch.alert.closing_as
        return batch

    def finish_of(self, lease: Lease, again_in: timedelta) -> None:
        if lease.closing_as is not None:
            ending = COUNT_OF_ENDING[lease.closing_as]
            for bit in range(len(lease.ids)):
                self.found[lease.token].setdefault(bit, ending)
            lease.settle_rest(ending)
        self.leases.remove(lease)
        batch = self.batches[lease.batch_id]
        if batch.holder != lease.token:
            with pytest.raises(LeaseLost):
                self.ledger.finish(lease, again_in=again_in)
            return
        self.ledger.finish(lease, again_in=again_in)
        self.record(lease)
        batch.holder = None
        if batch.waiting:
            batch.not_before, batch.futile = self.clock.now + again_in, 0
        else:
            batch.is_open = False
            batch.alert.end_if_settled()

    def record(self, lease: Lease) -> None:
        """Have it in the model what a valid lease has made last."""
        batch = self.batches[lease.batch_id]
        batch.outcomes = dict(self.found[lease.token])
        batch.uncertain = set(self.unsure[lease.token])
        gone = {batch.members[bit] for bit, how in batch.outcomes.items() if how == "gone"}
        self.readers = [reader for reader in self.readers if reader not in gone]
        for reader, until in self.unrecorded_holds[lease.token].items():
            self.holds[reader] = max(until, self.holds.get(reader, until))

    def sent_message(self, data: st.DataObject) -> Message | None:
        """One that is in flight; if none is, all workers send first, and one more."""
        if not self.in_flight():
            self.claim()
            for lease in self.leases:
                self.send_of(lease)
        return one_of(data, self.in_flight()) if self.in_flight() else None

    def in_flight(self) -> list[Message]:
        """Whose senders are alive and have not heard of them, though they may have timed out."""
        unanswered = [message for message in self.messages if message.answer is None]
        return [message for message in unanswered if message.lease in self.leases]

    def drained(self) -> list[Lease]:
        """The leases that may be given back, as nothing is in flight for them."""
        busy = [message.lease for message in self.in_flight()]
        return [lease for lease in self.leases if lease not in busy]

    def read_batches(self) -> dict[int, dict[int, list[int]]]:
        query = select(Batch.alert_id, Batch.id, BatchMembers.subscription_ids).join(
            BatchMembers, BatchMembers.batch_id == Batch.id
        )
        found: dict[int, dict[int, list[int]]] = {}
        with self.db.read() as session:
            for alert_id, batch_id, members in session.execute(query):
                found.setdefault(alert_id, {})[batch_id] = members
        return found

    def is_any_stopped(self) -> bool:
        return any(alert.closing_as == AlertState.STOPPED for alert in self.alerts.values())

    def earlier_than(self, alert: ModelAlert) -> list[ModelAlert]:
        return [other for other in self.alerts.values() if alert.follows(other)]

    def is_sent(self, alerts: list[ModelAlert]) -> bool:
        batches = [batch for alert in alerts for batch in alert.batches.values()]
        return any(batch.is_held(self.clock.now) for batch in batches)

    def is_plannable(self, alert: ModelAlert) -> bool:
        waits = alert.kind.corrects and self.is_sent(self.earlier_than(alert))
        return not alert.planned and not waits

    def is_due(self, batch: ModelBatch) -> bool:
        alert, now = batch.alert, self.clock.now
        return (
            batch.is_open
            and alert.state == AlertState.RELEASED
            and alert.expires_at > now
            and batch.not_before <= now
            and not batch.is_held(now)
            and not self.is_sent(self.earlier_than(alert))
        )


def test_nobody_is_lost_and_nobody_is_settled_twice(sqlite_template: Path) -> None:
    machine = type("Machine", (LedgerMachine,), {"template": sqlite_template})
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=40,
            stateful_step_count=40,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )

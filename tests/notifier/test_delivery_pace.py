"""What slow answers cost the others: delivery against a simulated sender, in simulated time."""

import heapq
import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NoReturn

import pytest
from newsroom import APPEARANCE
from publication import HOUR, Publication
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from notifier import backlog
from notifier.db import now_of
from notifier.delivery import Delivery
from notifier.ledger import LEASE, Lease, Ledger
from notifier.models import Alert, AlertKind, AlertState, Subscription
from notifier.push import Accepted, Outcome

SLOW = "https://slow.example"
EACH_TAKES = 0.0002  # seconds of this process for one message
LONG = timedelta(hours=1)


class Simulation:
    """A sender whose answers take `seconds_of(push service)`, and the time that passes with it."""

    limit = 100
    sent = math.inf
    """How many of the messages are sent at once; the others wait, and can be taken back."""

    def __init__(self, seconds_of: Callable[[str], float]) -> None:
        self.now = 1000.0
        self.accepted: dict[str, list[float]] = {}
        self.submitted: list[float] = []
        self.by_batch: dict[int, list[float]] = {}
        self._seconds_of = seconds_of
        self._waiting: list[tuple[float, int, Any]] = []
        self._numbers = count()

    def boot_time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    @property
    def free(self) -> int:
        return self.limit - len(self._waiting)

    def submit(self, token: Any, _target: object, _message: object) -> None:
        assert self.free > 0
        self.now += EACH_TAKES
        self.submitted.append(self.now)
        self.by_batch.setdefault(token[0].lease.batch_id, []).append(self.now)
        answered_at = self.now + self._seconds_of(token[1].push_service)
        heapq.heappush(self._waiting, (answered_at, next(self._numbers), token))

    def poll(self, wait: timedelta, _now: datetime | None = None) -> list[tuple[Any, Outcome]]:
        until = self.now + wait.total_seconds()
        if self._waiting:
            self.now = max(self.now, min(self._waiting[0][0], until))
        outcomes: list[tuple[Any, Outcome]] = []
        while self._waiting and self._waiting[0][0] <= self.now:
            _, _, token = heapq.heappop(self._waiting)
            self.accepted.setdefault(token[1].push_service, []).append(self.now)
            outcomes.append((token, Accepted()))
        return outcomes

    def swallow(self) -> None:
        """Forget all that is in flight, as encryption that crashes does."""
        self._waiting.clear()

    def recall(self, which: Callable[[Any], bool]) -> list[Any]:
        unsent = [one for one in self._waiting if one[1] >= self.sent and which(one[2])]
        self._waiting = [one for one in self._waiting if one not in unsent]
        return [token for _, _, token in unsent]


Simulate = Callable[[Callable[[str], float]], tuple[Simulation, Delivery]]


@pytest.fixture
def simulate(publication: Publication, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """A sender whose answers take so many seconds for a push service, and a worker with it."""

    def begin(seconds_of: Callable[[str], float]) -> tuple[Simulation, Delivery]:
        simulation = Simulation(seconds_of)
        for module in ("batch_run", "checkpoints", "delivery", "ledger"):
            monkeypatch.setattr(f"notifier.{module}.boot_time", simulation.boot_time)
        monkeypatch.setattr("notifier.delivery.time.sleep", simulation.sleep)
        sender: Any = simulation
        return simulation, Delivery(publication.db, Ledger(publication.db), sender, APPEARANCE)

    return begin


def seconds_to(
    publication: Publication, simulate: Simulate, seconds_of: Callable[[str], float]
) -> dict[str, list[float]]:
    """Send one alert to everybody: after how many seconds each answer came, by push service."""
    simulation, delivery = simulate(seconds_of)
    alert = publication.release()
    while publication.alert(alert.id).state != AlertState.FINISHED:
        delivery.run(LONG)
        for batch in publication.batches(alert.id):  # what waits need not wait for the real time
            with publication.changing(batch) as row:
                row.not_before = alert.released_at
                row.holds = {}
        simulation.now += 1
    assert publication.counts(alert.id)["accepted"] == publication.counts(alert.id)["audience"]
    return {
        name: sorted(time - 1000 for time in times) for name, times in simulation.accepted.items()
    }


def only_the_first_is_sent(
    publication: Publication, simulate: Simulate, *, seconds: float
) -> tuple[Simulation, Delivery, Alert]:
    """An alert to 200 readers: one message leaves, the others wait when they are handed over."""
    publication.add_readers(200)
    simulation, delivery = simulate(lambda _: seconds)
    simulation.sent = 1
    return simulation, delivery, publication.release()


class InTheMiddle:
    """Says that a delivery may go on, and does something `after` so many more messages."""

    def __init__(
        self, simulation: Simulation, do: Callable[[], object], *, after: int = 300
    ) -> None:
        self._simulation = simulation
        self._do = do
        self._from = len(simulation.submitted) + after
        self.at = math.inf

    def __call__(self) -> bool:
        if len(self._simulation.submitted) >= self._from and self.at == math.inf:
            self._do()
            self.at = self._simulation.now
        return True


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_slow_answer_in_a_thousand_costs_the_others_little(
    publication: Publication, simulate: Simulate
) -> None:
    publication.add_readers(8_000)
    lots = random.Random(4)  # noqa: S311 - the same lots each time

    def seconds_of(_push_service: str) -> float:
        return lots.uniform(1, 5) if lots.random() < 0.001 else 0.02

    (calm,) = seconds_to(publication, simulate, lambda _: 0.02).values()
    (slow,) = seconds_to(publication, simulate, seconds_of).values()
    assert slow[7_600] < calm[7_600] / 0.85


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_slow_push_service_does_not_hold_up_the_readers_of_another(
    publication: Publication, simulate: Simulate
) -> None:
    ids = publication.add_readers(4_000)
    with publication.db.write() as session:
        at_slow = update(Subscription).where(Subscription.id % 2 == ids[0] % 2)
        session.execute(at_slow.values(push_service=SLOW))

    fast = seconds_to(publication, simulate, lambda _: 0.02)["mozilla"]
    beside = seconds_to(publication, simulate, lambda name: 3 if name == SLOW else 0.02)
    assert len(beside["mozilla"]) == len(beside[SLOW]) == 2_000
    assert beside["mozilla"][-1] < 3 * fast[-1]
    assert beside[SLOW][-1] < 2_000 / 50 * 3 * 1.5, "it gets half of the room all the time"


@pytest.mark.parametrize("at", ["before the look", "in the look", "in the claim"])
def test_what_was_due_during_a_stall_of_the_database_is_not_taken_over(
    publication: Publication,
    simulate: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """Every lease has run out by then, this worker's own among them."""
    publication.add_readers(300)
    simulation, delivery = simulate(lambda _: 0.4)
    alert = publication.release()
    candidates, may_take_over = backlog.candidates, []
    claim_takes: list[int] = []

    def wait_to_write(session: Session) -> datetime:
        simulation.now += claim_takes.pop() if claim_takes else 0
        return now_of(session)

    def look(session: Session, *, take_over: bool, ahead_of: AlertKind | None) -> list[int]:
        stalls = bool(simulation.submitted) and not may_take_over
        if stalls:
            may_take_over.append(take_over)
            [batch] = publication.batches(alert.id)
            with publication.changing(batch) as row:
                row.lease_until -= HOUR
        found = candidates(session, take_over=take_over, ahead_of=ahead_of)
        if stalls and at == "in the claim":
            claim_takes.append(16)
        elif stalls:
            simulation.now += 16
        return [] if stalls and at == "before the look" else found

    monkeypatch.setattr(backlog, "candidates", look)
    monkeypatch.setattr("notifier.ledger.now_of", wait_to_write)
    delivery.run(LONG)

    assert may_take_over == [True]
    assert len(simulation.submitted) == 300
    assert publication.counts(alert.id) == {"audience": 300, "accepted": 300}


def test_what_the_dead_left_goes_out_before_the_rest_of_a_slow_batch(
    publication: Publication, simulate: Simulate
) -> None:
    publication.add_readers(2_000)
    simulation, delivery = simulate(lambda _: 0.4)
    alert = publication.release()
    dead = Ledger(publication.db)
    dead.plan()
    left = dead.claim()
    assert left is not None
    ends = InTheMiddle(simulation, lambda: publication.expire_lease(left))

    delivery.run(LONG, keep_going=ends)

    assert simulation.by_batch[left.batch_id][0] < ends.at + 1.5
    (slow,) = (batch for batch in simulation.by_batch if batch != left.batch_id)
    assert simulation.by_batch[slow][-1] > simulation.by_batch[left.batch_id][-1]
    assert publication.counts(alert.id) == {"audience": 2_000, "accepted": 2_000}


def test_what_the_dead_left_does_not_overtake_what_the_dead_left(
    publication: Publication, simulate: Simulate
) -> None:
    publication.add_readers(3_000)
    simulation, delivery = simulate(lambda _: 0.4)
    publication.release()
    dead = Ledger(publication.db)
    dead.plan()
    for lease in (dead.claim(), dead.claim(), dead.claim()):
        assert lease is not None
        publication.expire_lease(lease)

    delivery.run(LONG)

    first, second, third = sorted(simulation.by_batch.values())
    assert first[-1] <= second[0]
    assert second[-1] <= third[0]


def test_a_withdrawal_overtakes_also_when_a_worker_is_to_claim_no_more(
    publication: Publication, simulate: Simulate
) -> None:
    publication.add_readers(1_000)
    simulation, delivery = simulate(lambda _: 0.4)
    told = publication.release()
    delivery.run(LONG)
    publication.release()
    withdraw = {"kind": AlertKind.WITHDRAWAL, "story_id": told.story_id}
    released = InTheMiddle(simulation, lambda: publication.release(**withdraw))

    delivery.run(timedelta(seconds=0.5), keep_going=released)

    *_, slow, withdrawal = sorted(simulation.by_batch)
    assert simulation.by_batch[withdrawal][0] < simulation.by_batch[slow][-1]


def test_a_worker_that_is_told_to_leave_takes_back_what_it_has_not_sent_yet(
    publication: Publication, simulate: Simulate
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=4)

    delivery.run(LONG, keep_going=lambda: len(simulation.submitted) < 100)

    assert publication.counts(alert.id) == {"audience": 200, "accepted": 1, "waiting": 199}
    assert Ledger(publication.db).due(9).batches == 1, "others need not wait"


def test_a_worker_that_has_slept_too_long_takes_back_what_it_has_not_sent_yet(
    publication: Publication, simulate: Simulate
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=4)

    def sleep() -> None:
        simulation.now += LEASE.total_seconds()

    delivery.run(LONG, keep_going=InTheMiddle(simulation, sleep, after=100))

    assert publication.counts(alert.id) == {"audience": 200, "accepted": 200}
    assert len(simulation.submitted) == 200 + 99, "nobody took over: these were sent later"


def test_what_is_not_sent_yet_is_not_sent_when_somebody_has_taken_the_batch_over(
    publication: Publication, simulate: Simulate
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=4)

    def take_over() -> None:
        [batch] = publication.batches(alert.id)
        with publication.changing(batch) as row:
            row.claim_token = "another worker's"

    delivery.run(LONG, keep_going=InTheMiddle(simulation, take_over, after=100))

    assert [len(times) for times in simulation.accepted.values()] == [1]


def test_a_worker_that_crashes_takes_back_what_it_has_not_sent_yet(
    publication: Publication, simulate: Simulate
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=4)

    def crash() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        delivery.run(LONG, keep_going=InTheMiddle(simulation, crash, after=100))

    assert publication.counts(alert.id) == {"audience": 200, "accepted": 1, "waiting": 199}


def test_after_a_crash_that_swallowed_messages_no_push_service_passes_for_slow(
    publication: Publication, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = publication.add_readers(200)
    with publication.db.write() as session:
        at_slow = update(Subscription).where(Subscription.id % 2 == ids[0] % 2)
        session.execute(at_slow.values(push_service=SLOW))
    simulation, delivery = simulate(lambda _: 0.02)
    alert = publication.release()

    def crash(*_: object) -> NoReturn:
        simulation.swallow()
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(simulation, "poll", crash)
        with pytest.raises(MemoryError):
            delivery.run(LONG)
    simulation.now += 1
    [batch] = publication.batches(alert.id)
    with publication.changing(batch) as row:
        row.not_before = alert.released_at

    delivery.run(LONG)

    assert publication.counts(alert.id) == {"audience": 200, "accepted": 200}


def test_a_crash_that_does_not_pass_ends_the_work(
    publication: Publication, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=4)

    def crash(wait: timedelta, *_: object) -> NoReturn:
        simulation.now += wait.total_seconds()
        raise MemoryError

    monkeypatch.setattr(simulation, "poll", crash)
    with pytest.raises(MemoryError):
        delivery.run(LONG)

    [batch] = publication.batches(alert.id)
    assert batch.claim_token is None
    assert batch.waiting == 200


def test_what_is_not_sent_yet_is_taken_back_while_the_database_is_away(
    publication: Publication, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation, delivery, alert = only_the_first_is_sent(publication, simulate, seconds=2)
    checkpoint, in_flight = Ledger.checkpoint, []

    def fail_for_a_second(ledger: Ledger, leases: Any) -> list[Lease]:
        in_flight.append(simulation.in_flight)
        if simulation.now < 1002:
            raise OperationalError("UPDATE", {}, ConnectionError("the database is away"))
        return checkpoint(ledger, leases)

    monkeypatch.setattr(Ledger, "checkpoint", fail_for_a_second)
    delivery.run(LONG)

    assert in_flight[:2] == [100, 1], "all but the one that was sent"
    assert publication.counts(alert.id) == {"audience": 200, "accepted": 200}


@pytest.mark.parametrize(
    ("first", "second", "overtakes"),
    [
        (AlertKind.BREAKING, AlertKind.WITHDRAWAL, True),
        (AlertKind.BREAKING, AlertKind.CORRECTION, True),
        (AlertKind.CORRECTION, AlertKind.WITHDRAWAL, True),
        (AlertKind.WITHDRAWAL, AlertKind.CORRECTION, False),
        (AlertKind.BREAKING, AlertKind.BREAKING, False),
    ],
)
def test_a_withdrawal_or_correction_overtakes_the_rest_of_a_slow_batch_of_another_story(
    publication: Publication,
    simulate: Simulate,
    first: AlertKind,
    second: AlertKind,
    *,
    overtakes: bool,
) -> None:
    publication.add_readers(1_000)
    simulation, delivery = simulate(lambda _: 0.4)
    told = [publication.release(), publication.release()]
    delivery.run(LONG)
    about = [
        {"kind": kind} | ({"story_id": alert.story_id} if kind.corrects else {})
        for kind, alert in zip((first, second), told, strict=True)
    ]
    publication.release(**about[0])
    released = InTheMiddle(simulation, lambda: publication.release(**about[1]))

    delivery.run(LONG, keep_going=released)

    *_, slow, other = sorted(simulation.by_batch)
    first_sent, last_of_slow = simulation.by_batch[other][0], simulation.by_batch[slow][-1]
    assert (first_sent < last_of_slow) is overtakes
    assert not overtakes or first_sent < released.at + 1.5
    assert len(simulation.submitted) == 4_000


@pytest.mark.parametrize("seconds", [0.02, 0.9])
def test_stopping_takes_effect_within_a_second_and_tells_who_had_got_it(
    publication: Publication, simulate: Simulate, seconds: float
) -> None:
    publication.add_readers(2_500)
    simulation, delivery = simulate(lambda _: seconds)
    alert = publication.release()
    stopped = InTheMiddle(simulation, lambda: publication.stop(alert.id), after=700)

    delivery.run(LONG, keep_going=stopped)

    assert simulation.submitted[-1] <= stopped.at + 1
    (accepted,) = (len(times) for times in simulation.accepted.values())
    assert 700 <= accepted < 2_500
    while publication.alert(alert.id).state != AlertState.STOPPED:  # the rest is counted
        delivery.run(LONG)
        Ledger(publication.db).tidy()
    counts = {"audience": 2_500, "accepted": accepted, "stopped": 2_500 - accepted}
    assert publication.counts(alert.id) == counts

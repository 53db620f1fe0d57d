"""What slow answers cost the others: delivery against a simulated sender, in simulated time."""

import heapq
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from newsroom import APPEARANCE
from publication import Publication
from sqlalchemy import update

from notifier.delivery import Delivery
from notifier.ledger import Ledger
from notifier.models import AlertState, Subscription
from notifier.push import Accepted, Outcome

SLOW = "https://slow.example"
EACH_TAKES = 0.0002  # seconds of this process for one message
LONG = timedelta(hours=1)


class Simulation:
    """A sender whose answers take `seconds_of(push service)`, and the time that passes with it."""

    limit = 100

    def __init__(self, seconds_of: Callable[[str], float]) -> None:
        self.now = 1000.0
        self.accepted: dict[str, list[float]] = {}
        self.submitted: list[float] = []
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
        answered_at = self.now + self._seconds_of(token[1].push_service)
        heapq.heappush(self._waiting, (answered_at, next(self._numbers), token))

    def poll(self, wait: timedelta, _now: datetime) -> list[tuple[Any, Outcome]]:
        until = self.now + wait.total_seconds()
        if self._waiting:
            self.now = max(self.now, min(self._waiting[0][0], until))
        outcomes: list[tuple[Any, Outcome]] = []
        while self._waiting and self._waiting[0][0] <= self.now:
            _, _, token = heapq.heappop(self._waiting)
            self.accepted.setdefault(token[1].push_service, []).append(self.now)
            outcomes.append((token, Accepted()))
        return outcomes

    def recall(self, _which: object) -> list[Any]:
        return []  # everything is sent at once here


Simulate = Callable[[Callable[[str], float]], tuple[Simulation, Delivery]]


@pytest.fixture
def simulate(publication: Publication, monkeypatch: pytest.MonkeyPatch) -> Simulate:
    """A sender whose answers take so many seconds for a push service, and a worker with it."""

    def begin(seconds_of: Callable[[str], float]) -> tuple[Simulation, Delivery]:
        simulation = Simulation(seconds_of)
        for module in ("batch_run", "delivery", "ledger"):
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


@pytest.mark.parametrize("seconds", [0.02, 0.9])
def test_stopping_takes_effect_within_a_second_and_tells_who_had_got_it(
    publication: Publication, simulate: Simulate, seconds: float
) -> None:
    publication.add_readers(2_500)
    simulation, delivery = simulate(lambda _: seconds)
    alert = publication.release()
    stopped_at: list[float] = []

    def stop_in_the_middle() -> bool:
        if len(simulation.submitted) >= 700 and not stopped_at:
            publication.stop(alert.id)
            stopped_at.append(simulation.now)
        return True

    delivery.run(LONG, keep_going=stop_in_the_middle)

    assert simulation.submitted[-1] <= stopped_at[0] + 1
    (accepted,) = (len(times) for times in simulation.accepted.values())
    assert 700 <= accepted < 2_500
    while publication.alert(alert.id).state != AlertState.STOPPED:  # the rest is counted
        delivery.run(LONG)
        Ledger(publication.db).tidy()
    counts = {"audience": 2_500, "accepted": accepted, "stopped": 2_500 - accepted}
    assert publication.counts(alert.id) == counts

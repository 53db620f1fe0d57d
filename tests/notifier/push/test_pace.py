"""How many requests are in flight, on lines of several kinds."""

from dataclasses import dataclass, field

import pytest

from notifier.push.pace import HOLD_AFTER_FAILURE, LEAST, Pace

POLL_S = 0.05


@dataclass
class Line:
    """A sender that makes `capacity` requests a second when it need not wait, and its line."""

    round_trip_s: float
    capacity: float = 5_000
    most_in_flight: float = float("inf")
    limits: list[int] = field(default_factory=list)

    def rate(self, limit: int) -> float:
        return min(self.capacity, min(limit, self.most_in_flight) / self.round_trip_s)

    def run(self, pace: Pace, start: float, seconds: float) -> float:
        """Poll for a time; notes every limit that was in force, and answers when it is now."""
        now, end = start, start + seconds
        while now < end:
            now += POLL_S
            rate = self.rate(pace.limit)
            idle = 1 - rate / self.capacity
            pace.note(now, waited=idle * POLL_S, answers=int(rate * POLL_S))
            self.limits.append(pace.limit)
        return now


@pytest.mark.parametrize(
    ("round_trip_s", "limit"), [(0.001, 100), (0.03, 200), (0.07, 400), (0.1, 800), (1, 800)]
)
def test_as_many_are_in_flight_as_the_line_takes(round_trip_s: float, limit: int) -> None:
    pace = Pace(800, now=0)
    Line(round_trip_s).run(pace, 0, 20)
    assert pace.limit == limit


@pytest.mark.parametrize("milliseconds", range(1, 151, 7))
def test_waiting_costs_no_more_than_15_percent(milliseconds: int) -> None:
    pace = Pace(800, now=0)
    line = Line(milliseconds / 1000)
    line.run(pace, 0, 20)
    assert line.rate(pace.limit) >= 0.85 * line.capacity


def test_growing_stops_at_the_most() -> None:
    pace = Pace(300, now=0)
    line = Line(1)
    line.run(pace, 0, 60)
    assert pace.limit == 300
    assert max(line.limits) == 300


def test_a_small_most_is_never_exceeded() -> None:
    pace = Pace(7, now=0)
    Line(1).run(pace, 0, 60)
    assert pace.limit == 7


def test_what_does_not_pay_is_taken_back_and_not_tried_again_soon() -> None:
    pace = Pace(800, now=0)
    line = Line(0.1, most_in_flight=50)  # a push service that takes no more at once
    now = line.run(pace, 0, HOLD_AFTER_FAILURE.total_seconds() - 1)
    assert set(line.limits) == {LEAST, 2 * LEAST}
    tries = "".join("g" if limit > LEAST else "." for limit in line.limits).strip(".").split(".")
    assert len([run for run in tries if run]) == 1

    line.most_in_flight = float("inf")  # it takes more now
    line.run(pace, now, 60)
    assert pace.limit == 800


def test_a_pause_between_two_alerts_says_nothing_about_the_line() -> None:
    pace = Pace(800, now=0)
    line = Line(0.15)
    now = line.run(pace, 0, 0.3)
    for _ in range(20):
        now = line.run(pace, now + 3600, 0.3)
    assert pace.limit == LEAST

"""Histograms of seconds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.latency import bucket_of, end_of, merged, seconds_until

DAY = 86_400.0


@given(st.floats(min_value=0.05, max_value=7 * DAY))
def test_a_bucket_is_off_by_nine_per_cent_at_most_and_never_too_short(seconds: float) -> None:
    end = end_of(bucket_of(seconds))

    assert seconds * (1 - 1e-9) <= end <= seconds * 2 ** (1 / 8) * (1 + 1e-9)


@given(st.floats(max_value=0.05, allow_nan=False, allow_infinity=False))
def test_everything_shorter_shares_the_first_even_if_clocks_disagree(seconds: float) -> None:
    assert bucket_of(seconds) == "0"


@given(st.lists(st.floats(min_value=0, max_value=DAY), min_size=1, max_size=60), st.data())
def test_percentiles_are_those_of_the_durations(
    durations: list[float], data: st.DataObject
) -> None:
    needed = data.draw(st.integers(1, len(durations)))
    cut = data.draw(st.integers(0, len(durations)))
    halves: list[dict[str, int]] = []
    for half in (durations[:cut], durations[cut:]):
        histogram: dict[str, int] = {}
        for seconds in half:
            histogram[bucket_of(seconds)] = histogram.get(bucket_of(seconds), 0) + 1
        halves.append(histogram)

    found = seconds_until(merged(halves), needed)

    exact = max(sorted(durations)[needed - 1], 0.05)
    assert found is not None
    assert exact - 0.006 <= found <= exact * 1.091 + 0.006
    assert seconds_until(merged(halves), len(durations) + 1) is None


def test_nothing_has_happened_yet() -> None:
    assert merged([]) == {}
    assert seconds_until({}, 0) is None
    assert seconds_until({}, 1) is None


def test_buckets_come_in_the_order_of_their_numbers() -> None:
    assert seconds_until({"100": 1, "9": 1}, 1) == pytest.approx(end_of("9"), abs=0.01)
    assert math.isclose(end_of("0"), 0.05)

"""When a push service's last answers say that it should be left alone."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from notifier.push.breaker import (
    LONGEST_PAUSE,
    Window,
    breaker_window,
    pause_before_probe,
    throttle_window,
)


@given(st.lists(st.booleans(), max_size=60))
def test_a_window_is_bad_when_it_is_full_and_its_share_is_reached(answers: list[bool]) -> None:
    window = Window(20, 0.2)
    last: deque[bool] = deque(maxlen=20)
    for bad in answers:
        window.add(bad=bad)
        last.append(bad)
        assert window.is_bad == (len(last) == 20 and sum(last) >= 4)


def test_a_fifth_of_the_last_hundred_opens_a_breaker() -> None:
    window = breaker_window()
    for number in range(100):
        window.add(bad=number >= 81)
    assert not window.is_bad
    window.add(bad=True)
    assert window.is_bad
    window.clear()
    assert not window.is_bad


def test_more_than_a_twentieth_of_the_last_two_hundred_holds_a_push_service() -> None:
    window = throttle_window()
    for number in range(200):
        window.add(bad=number >= 190)
    assert not window.is_bad, "ten in two hundred are just a twentieth"
    window.add(bad=True)
    assert window.is_bad


def test_pauses_double_up_to_a_minute() -> None:
    assert [pause_before_probe(n).total_seconds() for n in (1, 2, 3, 4, 5)] == [5, 10, 20, 40, 60]
    assert pause_before_probe(10_000) == LONGEST_PAUSE

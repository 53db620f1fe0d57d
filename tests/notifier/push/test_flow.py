"""When a push service counts as slow."""

from notifier.push.flow import Flow


def test_nobody_knows_a_push_service_before_its_first_answers() -> None:
    flow = Flow()
    flow.sent(10.0)
    assert flow.is_unknown(10.4)
    assert not flow.is_slow(10.4)
    assert flow.is_slow(10.6), "they should have come by now"
    assert not flow.is_unknown(10.6)


def test_fast_answers_make_it_fast_and_one_straggler_does_not_make_it_slow() -> None:
    flow = Flow()
    for number in range(20):
        at = 10 + number / 10
        flow.sent(at)
        flow.answered(at + 0.03, at)
    assert not flow.is_slow(12.0)
    flow.sent(12.0)
    flow.sent(12.0)
    flow.answered(14.0, 12.0)
    assert not flow.is_slow(14.1)


def test_slow_answers_make_it_slow_until_they_are_fast_again() -> None:
    flow = Flow()
    for number in range(10):
        flow.sent(10.0)
        flow.answered(13.0 + number / 100, 10.0)
    flow.sent(13.2)
    assert flow.is_slow(13.2)
    for _ in range(20):
        flow.sent(13.2)
        flow.answered(13.25, 13.2)
    assert not flow.is_slow(13.25)


def test_a_push_service_that_falls_silent_is_slow_though_its_last_answers_were_fast() -> None:
    flow = Flow()
    flow.sent(10.0)
    flow.answered(10.01, 10.0)
    flow.sent(10.02)
    assert not flow.is_slow(10.5)
    assert flow.is_slow(10.6)


def test_what_is_recalled_is_not_on_its_way() -> None:
    flow = Flow()
    flow.sent(10.0)
    flow.recalled()
    assert flow.in_flight == 0

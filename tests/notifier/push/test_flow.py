"""When a push service counts as slow, and how much of the room it gets then."""

from notifier.push.flow import Flow, Flows


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


def test_one_that_is_not_known_waits_with_half_of_the_room_and_a_slow_one_leaves_the_rest() -> None:
    flows = Flows()
    for _ in range(49):
        flows.sent("wns", 10.0)
    assert not flows.must_wait("wns", 100, 10.1)
    flows.sent("wns", 10.0)
    assert flows.must_wait("wns", 100, 10.1)
    assert not flows.crowds("wns", 100, 10.1)
    assert not flows.must_wait("wns", 100, 11.0), "it has had its time"
    assert flows.crowds("wns", 100, 11.0)
    assert not flows.crowds("wns", 200, 11.0)
    assert not flows.crowds("fcm", 100, 11.0)


def test_a_fast_one_may_have_all_of_the_room() -> None:
    flows = Flows()
    for _ in range(100):
        flows.sent("fcm", 10.0)
    flows.answered("fcm", 10.02, 10.0)
    assert not flows.must_wait("fcm", 100, 10.1)
    assert not flows.crowds("fcm", 100, 10.1)


def test_a_slow_one_always_has_room_for_one_message() -> None:
    flows = Flows()
    assert not flows.crowds("wns", 1, 10.0)
    flows.sent("wns", 10.0)
    assert flows.crowds("wns", 1, 11.0)
    flows.recalled("wns")
    assert not flows.crowds("wns", 1, 11.0)

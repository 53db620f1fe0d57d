"""The times that a delivery keeps: TTL, lease, checkpoints, stops, backoff."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from newsroom import Newsroom
from publication import HOUR

from notifier.checkpoints import LONGEST_UNSAVED
from notifier.db import now_of
from notifier.ledger import Lease, Ledger
from notifier.models import AlertKind


class Clock:
    """Boot time, a tenth of a second for each turn of a delivery's loop."""

    def __init__(self) -> None:
        self.now = 1000.0

    def tick(self) -> bool:
        self.now += 0.1
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("batch_run", "checkpoints", "delivery", "ledger"):
        monkeypatch.setattr(f"notifier.{module}.boot_time", lambda: clock.now)
    return clock


def watch_submits(newsroom: Newsroom, clock: Clock) -> list[float]:
    """When messages are handed to the transport, from now on."""
    times: list[float] = []
    submit = newsroom.sender.submit

    def noting(*message: Any) -> None:
        times.append(clock.now)
        submit(*message)

    newsroom.sender.submit = noting  # type: ignore[method-assign]
    return times


def test_ttl_shrinks_by_the_time_already_spent(newsroom: Newsroom) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    alert = newsroom.release(validity=HOUR)
    with newsroom.changing(newsroom.alert(alert.id)) as row:
        row.released_at -= HOUR / 2
        row.expires_at -= HOUR / 2

    newsroom.deliver()

    (message,) = newsroom.control.messages(browser.endpoint.url)
    assert HOUR / 2 - timedelta(minutes=1) < timedelta(seconds=message["ttl"]) <= HOUR / 2


def test_however_long_a_checkpoint_takes_the_next_one_follows_within_half_a_second(
    newsroom: Newsroom, clock: Clock
) -> None:
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"delay": 3}])
    alert = newsroom.release()
    ends = [clock.now]
    gaps: list[float] = []

    class Slow(Ledger):
        def checkpoint(self, leases: Sequence[Lease]) -> list[Lease]:
            gaps.append(clock.now - ends[-1])
            clock.now += 1
            ends.append(clock.now)
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Slow(newsroom.db)), keep_going=clock.tick)

    assert newsroom.counts(alert.id) == {"audience": 5, "accepted": 5}
    assert len(gaps) > 1
    assert max(gaps) < (LONGEST_UNSAVED + timedelta(seconds=0.15)).total_seconds()


def test_a_pause_that_we_chose_ourselves_does_not_reach_past_the_alerts_end(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.outcomes.random.uniform", lambda *_: 1.0)
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release(validity=timedelta(seconds=30))
    newsroom.ledger.plan()
    for batch in newsroom.batches(alert.id):
        with newsroom.changing(batch) as row:
            row.rounds = 6  # it has failed for a minute or two

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 5, "waiting": 5}, "25 s are left"


def test_ttl_shrinks_between_two_tries_too(newsroom: Newsroom) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    newsroom.control.set_faults([{"status": 503, "times": 1}])
    alert = newsroom.release(validity=HOUR)
    newsroom.deliver()
    with newsroom.changing(newsroom.alert(alert.id)) as row:
        row.expires_at -= HOUR / 2
    newsroom.skip_waiting(alert)

    newsroom.deliver()

    (message,) = newsroom.control.messages(browser.endpoint.url)
    assert HOUR / 2 - timedelta(minutes=1) < timedelta(seconds=message["ttl"]) <= HOUR / 2


@pytest.mark.parametrize(
    ("kind", "urgency"),
    [
        (AlertKind.BREAKING, "high"),
        (AlertKind.UPDATE, "normal"),
        (AlertKind.CORRECTION, "high"),
        (AlertKind.WITHDRAWAL, "high"),
    ],
)
def test_only_updates_may_wait_for_a_phone_to_wake_up(
    newsroom: Newsroom, kind: AlertKind, urgency: str
) -> None:
    (browser,) = newsroom.opt_in(1, keep=True)
    first = newsroom.release()
    newsroom.deliver()

    newsroom.release(kind=kind, story_id=first.story_id)
    newsroom.deliver()

    assert newsroom.control.messages(browser.endpoint.url)[-1]["urgency"] == urgency


@pytest.mark.parametrize(("seconds_left", "sends"), [(6.0, False), (6.5, True)])
def test_no_send_starts_with_less_than_six_seconds_of_lease_left(
    newsroom: Newsroom, clock: Clock, seconds_left: float, sends: bool
) -> None:
    newsroom.opt_in(5)
    alert = newsroom.release()
    submitted = watch_submits(newsroom, clock)
    before_renewal: list[int] = []

    class Late(Ledger):
        """The claim took its time, so little of the lease is left until a checkpoint renews it."""

        def claim(self, **options: Any) -> Lease | None:
            lease = super().claim(**options)
            if lease is not None:
                lease.deadline = clock.now + seconds_left
            return lease

        def checkpoint(self, leases: Sequence[Lease]) -> list[Lease]:
            before_renewal.append(len(submitted))
            return super().checkpoint(leases)

    newsroom.deliver(newsroom.worker(Late(newsroom.db)), keep_going=clock.tick)

    assert before_renewal[0] == (5 if sends else 0)
    assert newsroom.counts(alert.id) == {"audience": 5, "accepted": 5}


def test_pauses_double_up_to_a_minute_and_no_two_are_alike(newsroom: Newsroom) -> None:
    newsroom.opt_in(3)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release()
    expected = [1, 2, 4, 8, 16, 32, 60, 60]
    jitter = []
    rounds = 0
    while rounds < len(expected):
        newsroom.skip_waiting(alert)
        with newsroom.db.read() as session:
            began = now_of(session)
        newsroom.deliver()
        with newsroom.db.read() as session:
            ended = now_of(session)
        (batch,) = newsroom.batches(alert.id)
        rounds = batch.rounds  # two at once, where a machine takes longer than the pause
        seconds = expected[min(rounds, len(expected)) - 1]
        assert batch.not_before >= began + timedelta(seconds=seconds * 0.5)
        assert batch.not_before <= ended + timedelta(seconds=seconds * 1.5)
        jitter.append((batch.not_before - began).total_seconds() / seconds)

    assert len({round(factor, 3) for factor in jitter}) > len(jitter) / 2
    assert newsroom.counts(alert.id) == {"audience": 3, "waiting": 3}, "until the alert expires"

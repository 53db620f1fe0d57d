"""The times that a delivery keeps: TTL, lease, checkpoints, stops, backoff."""

from datetime import timedelta
from typing import Any

import pytest
from newsroom import Newsroom
from publication import HOUR

from notifier.delivery import LONGEST_UNSAVED
from notifier.ledger import Lease, Ledger


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
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"delay": 3}])
    alert = newsroom.release()
    clock = [1000.0]
    monkeypatch.setattr("notifier.delivery.boot_time", lambda: clock[0])
    monkeypatch.setattr("notifier.ledger.boot_time", lambda: clock[0])
    ends = [clock[0]]
    gaps: list[float] = []

    class Slow(Ledger):
        def checkpoint(self, leases: Any) -> list[Lease]:
            gaps.append(clock[0] - ends[-1])
            clock[0] += 1
            ends.append(clock[0])
            return super().checkpoint(leases)

    def a_tenth_of_a_second_later() -> bool:
        clock[0] += 0.1
        return True

    newsroom.deliver(newsroom.worker(Slow(newsroom.db)), keep_going=a_tenth_of_a_second_later)

    assert newsroom.counts(alert.id) == {"audience": 5, "accepted": 5}
    assert len(gaps) > 1
    assert max(gaps) < (LONGEST_UNSAVED + timedelta(seconds=0.15)).total_seconds()


def test_a_pause_that_we_chose_ourselves_does_not_reach_past_the_alerts_end(
    newsroom: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.delivery.random.uniform", lambda *_: 1.0)
    newsroom.opt_in(5)
    newsroom.control.set_faults([{"status": 503}])
    alert = newsroom.release(validity=timedelta(seconds=30))
    newsroom.ledger.plan()
    for batch in newsroom.batches(alert.id):
        with newsroom.changing(batch) as row:
            row.rounds = 6  # it has failed for a minute or two

    newsroom.deliver()

    assert newsroom.counts(alert.id) == {"audience": 5, "waiting": 5}, "25 s are left"

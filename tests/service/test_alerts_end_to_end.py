"""What reaches readers when an article is published; what breaks meanwhile: tests/drills."""

from datetime import timedelta

import pytest

from notifier.rehearsal.rehearsal import Fault, Rehearsal

pytestmark = pytest.mark.service

READERS = 5_000
LONG = timedelta(seconds=120)


def test_who_is_gone_is_gone_and_all_others_get_the_alert_once_and_when_they_said(
    rehearsal: Rehearsal,
) -> None:
    rehearsal.enlist(READERS, [Fault(410, 0.1), Fault(429, 0.05), Fault(503, 0.05)], lambda _: None)
    reckoning = rehearsal.follow(rehearsal.publish()["id"], LONG)

    assert reckoning.failures == []
    counts = reckoning.alert["counts"]
    assert counts["audience"] == READERS
    assert counts["accepted"] + counts["gone"] == READERS
    assert counts["gone"] == reckoning.push_service["gone"] > READERS * 0.08
    assert reckoning.push_service["by_status"]["429"] > READERS * 0.03
    assert reckoning.push_service["topics"] == [f"story-{reckoning.alert['id']}"]
    assert reckoning.alert["seconds_to"]["50"] is not None
    assert reckoning.alert["seconds_to"]["99"] is None  # a tenth is gone

"""Where an alert stands, in the words of the newsroom's pages."""

import pytest

from notifier.models import Alert, AlertState
from notifier.reports import Progress
from web.newsroom.alerts import AlertCard


def shown(alert: Alert, *, planning: bool = False, accepted: int = 0) -> str:
    progress = Progress(AlertState(alert.state), planning, {"accepted": accepted}, {})
    return AlertCard(alert, progress, sections="").state


def test_an_alert_is_starting_until_somebody_has_it_though_planning_goes_on() -> None:
    alert = Alert(state=AlertState.RELEASED)
    assert shown(alert, planning=True) == "Starting"
    assert shown(alert, planning=True, accepted=1) == "Sending"
    assert shown(alert) == "Sending"


@pytest.mark.parametrize(
    ("closing_as", "word"),
    [
        (AlertState.STOPPED, "Stopping"),
        (AlertState.SUPERSEDED, "Ending"),
        (AlertState.EXPIRED, "Ending"),
    ],
)
def test_only_what_somebody_stops_is_stopping(closing_as: AlertState, word: str) -> None:
    closing = Alert(state=AlertState.CLOSING, closing_as=closing_as)
    assert shown(closing, planning=True) == word


def test_an_alert_that_has_ended_says_how() -> None:
    assert shown(Alert(state=AlertState.SUPERSEDED)) == "Superseded"

"""The read side: how an alert is getting on, and what browsers report of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from notifier import latency
from notifier.models import COUNTS, Alert, AlertState, Batch, Reaction, ReactionCount

PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an alert stands.

    `counts` has `audience`, `waiting` and everything of COUNTS; the audience is the sum of the
    others. While `planning`, the audience still grows. `seconds_to` says within how many seconds
    of the release that per cent of the audience had been accepted, None until it is reached; a
    batch whose record of that is damaged does not count as accepted in it.
    """

    state: AlertState
    planning: bool
    counts: dict[str, int]
    seconds_to: dict[str, float | None]


def progress(session: Session, alert: Alert) -> Progress:
    """The progress of one alert; see `progress_of` for several."""
    return progress_of(session, [alert])[alert.id]


def progress_of(session: Session, shown: Sequence[Alert]) -> dict[int, Progress]:
    """The progress of each of the alerts, by id."""
    ids = [alert.id for alert in shown]
    columns = [func.coalesce(func.sum(getattr(Batch, name)), 0) for name in ("waiting", *COUNTS)]
    sums = session.execute(
        select(Batch.alert_id, func.coalesce(func.sum(Batch.size), 0), *columns)
        .where(Batch.alert_id.in_(ids))
        .group_by(Batch.alert_id)
    ).all()
    counts_by_alert = {
        row[0]: dict(zip(("audience", "waiting", *COUNTS), map(int, row[1:]), strict=True))
        for row in sums
    }
    histograms: dict[int, list[dict[str, int]]] = {}
    as_text = cast(Batch.seconds_to_accept, Text)
    for alert_id, text in session.execute(
        select(Batch.alert_id, as_text).where(Batch.alert_id.in_(ids))
    ):
        histograms.setdefault(alert_id, []).append(latency.stored(text))
    return {
        alert.id: _progress(
            alert,
            counts_by_alert.get(alert.id, dict.fromkeys(("audience", "waiting", *COUNTS), 0)),
            latency.merged(histograms.get(alert.id, [])),
        )
        for alert in shown
    }


def reactions_by_browser(session: Session, alert: Alert) -> dict[str, dict[Reaction, int]]:
    """How often each reaction to an alert will have happened, by browser family.

    Estimated from the reports of the share of browsers that was asked; only of families that have
    reported something.
    """
    estimates: dict[str, dict[Reaction, int]] = {}
    if alert.count_rate is None:
        return estimates
    query = select(ReactionCount).where(ReactionCount.alert_id == alert.id)
    for row in session.scalars(query.order_by(ReactionCount.browser)):
        family = estimates.setdefault(row.browser, dict.fromkeys(Reaction, 0))
        family[Reaction(row.reaction)] = round(row.reports / alert.count_rate)
    return estimates


def _progress(alert: Alert, counts: dict[str, int], histogram: dict[str, int]) -> Progress:
    planning = alert.planned_at is None
    seconds_to: dict[str, float | None] = {}
    for percentile in PERCENTILES:
        needed = math.ceil(counts["audience"] * percentile / 100)
        reached = None if planning or not needed else latency.seconds_until(histogram, needed)
        seconds_to[str(percentile)] = reached
    return Progress(alert.state, planning, counts, seconds_to)

"""Reactions: how many browsers report that they have shown or opened an alert's notification.

Counted by alert and browser family only: no address, no reader, no time is kept. Only a share of
the browsers is asked to report, so that a large audience makes no larger load than a small one.
"""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from notifier.db import Database, now_of, upsert
from notifier.errors import NotFound
from notifier.models import Alert, Reaction, ReactionCount

REPORTS_WANTED = 20_000
"""From so many the true share is known to about a third of a per cent."""

REPORTED_UNTIL = timedelta(days=1)
"""How long after an alert's validity a report still counts: notifications are opened later."""

SAVED_AFTER = timedelta(seconds=1)

OTHER = "other"
_FAMILIES = (  # the first whose mark is in the User-Agent; many claim to be Chrome and Safari too
    ("samsung", ("SamsungBrowser/",)),
    ("opera", ("OPR/", "OPT/", "OPiOS/")),
    ("edge", ("Edg/", "EdgA/", "EdgiOS/")),
    ("firefox", ("Firefox/", "FxiOS/")),
    ("chrome", ("Chrome/", "Chromium/", "CriOS/")),
    ("safari", ("Safari/", "AppleWebKit/")),
)
FAMILIES = (*(name for name, _ in _FAMILIES), OTHER)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reported:
    """How often a reaction was reported, and how often it will have happened."""

    reports: int
    estimate: int


def family_of(user_agent: str) -> str:
    """The browser family that a User-Agent header names; one of FAMILIES."""
    for name, marks in _FAMILIES:
        if any(mark in user_agent for mark in marks):
            return name
    return OTHER


def rate_for(readers: int) -> float:
    """The share of the browsers to ask when an alert goes to at most `readers`."""
    return 1.0 if readers <= REPORTS_WANTED else max(0.001, round(REPORTS_WANTED / readers, 3))


def reported(session: Session, alerts: Iterable[Alert]) -> dict[int, dict[Reaction, Reported]]:
    """What was reported of each alert whose reactions are counted, by id and reaction."""
    rates = {alert.id: alert.count_rate for alert in alerts if alert.count_rate is not None}
    sums: Counter[tuple[int, Reaction]] = Counter()
    rows = session.scalars(select(ReactionCount).where(ReactionCount.alert_id.in_(rates)))
    for row in rows:
        sums[row.alert_id, Reaction(row.reaction)] += row.reports
    return {
        alert_id: {
            reaction: Reported(sums[alert_id, reaction], round(sums[alert_id, reaction] / rate))
            for reaction in Reaction
        }
        for alert_id, rate in rates.items()
    }


class Tally:
    """Takes reports, and adds them to the database together about once a second.

    So a flood of them is one small transaction a second, not one each. What a killed process has
    not saved yet is lost. For many threads.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._reports: Counter[tuple[int, str, str]] = Counter()
        self._saver: threading.Timer | None = None

    def record(self, alert_id: int, reaction: Reaction, user_agent: str) -> None:
        """Count a report. Raises NotFound when the alert's reactions are not counted (any more)."""
        with self._db.read() as session:
            _check_counted(session, alert_id)
        with self._lock:
            self._reports[alert_id, reaction, family_of(user_agent)] += 1
            if self._saver is None:
                self._saver = threading.Timer(SAVED_AFTER.total_seconds(), self.save)
                self._saver.start()

    def save(self) -> None:
        """Add what was counted to the database; what it does not take is forgotten."""
        with self._lock:
            reports, self._reports = self._reports, Counter()
            if self._saver is not None:
                self._saver.cancel()
                self._saver = None
        try:
            if reports:
                with self._db.write(durable=False) as session:
                    _add(session, reports)
        except SQLAlchemyError as error:
            log.warning("reactions_lost", reports=reports.total(), error=type(error).__name__)


def _check_counted(session: Session, alert_id: int) -> None:
    alert = session.get(Alert, alert_id)
    now = now_of(session)
    if alert is None or alert.count_rate is None or now > alert.expires_at + REPORTED_UNTIL:
        raise NotFound("There is no alert of that number whose reactions are counted.")


def _add(session: Session, reports: Counter[tuple[int, str, str]]) -> None:
    for (alert_id, reaction, browser), count in sorted(reports.items()):  # so as not to deadlock
        statement = upsert(session, ReactionCount).values(
            alert_id=alert_id, reaction=reaction, browser=browser, reports=count
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["alert_id", "reaction", "browser"],
                set_={"reports": ReactionCount.reports + statement.excluded.reports},
            )
        )

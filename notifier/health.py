"""What one worker process knows of the push services: whom to leave alone, and until when."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.orm import Session

from notifier import push_services
from notifier.db import Database
from notifier.push import Accepted, Gone, Outcome, Rejected, Throttled, Unreachable
from notifier.push.breaker import Window, breaker_window, pause_before_probe, throttle_window

LONGEST_HOLD = timedelta(minutes=1)
"""How long a whole push service is held when it throttles; one answer may ask for longer."""

ALL_REFUSED = 20
"""So many readers refused, and nobody taken between them: where few are asked, these are all."""

_BAD, _TAKEN = Rejected | Unreachable, Accepted | Gone  # once, not for every answer

_MOST_ENDPOINTS = 10_000  # by then, the first of them have long been recorded

log = structlog.get_logger()


class ServiceHealth:
    """Judges push services by their last answers, and shares breakers through the database.

    `note` and `hold` are called for every message and only look at memory, but for the few
    probes; `sync` exchanges with the database what was found out.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._answers: dict[str, Window] = {}
        self._throttled: dict[str, Window] = {}
        self._held_until: dict[str, datetime] = {}
        self._probe_at: dict[str, datetime] = {}  # of the open breakers
        self._probing: set[str] = set()
        self._closings: Counter[str] = Counter()
        self._refused_in_a_row: Counter[str] = Counter()
        self._newly_refused_in_a_row: Counter[str] = Counter()
        self._too_large: set[tuple[int, str]] = set()
        self._to_record: list[Callable[[Session], None]] = []

    def open_until(self, push_service: str) -> datetime | None:
        """When to try a push service again whose breaker is open; None when it is closed."""
        return self._probe_at.get(push_service)

    def closings(self, push_service: str) -> int:
        """How often its breaker has been seen to close, which tells whether it did meanwhile."""
        return self._closings[push_service]

    def is_in_doubt(self, push_service: str) -> bool:
        """Whether the last who were sent to were all refused: it may be about to refuse everybody.

        One alone may be refused for a reason of his own.
        """
        return self._refused_in_a_row[push_service] > 1

    def hold(self, push_service: str, now: datetime) -> datetime | None:
        """Until when the push service is to be left alone; None: the caller sends now.

        Of all processes, one is let through to a service that is open, once its probe is due.
        Raises SQLAlchemyError.
        """
        held_until = self._held_until.get(push_service)
        if held_until is not None:
            if held_until > now:
                return held_until
            del self._held_until[push_service]
        probe_at = self._probe_at.get(push_service)
        if probe_at is None:
            return None
        if probe_at > now:
            soon = now + push_services.PROBE_ANSWERS_WITHIN / 10
            # While our own probe is out, its answer is likely to come before `probe_at`.
            return soon if push_service in self._probing else max(probe_at, soon)
        with self._db.write() as session:
            won = push_services.win_probe(session, push_service)
            # After the win, so that it says when to try once more if no answer comes.
            open_now = push_services.open_breakers(session)
        self._take_over(open_now)
        if won:
            self._probing.add(push_service)
            return None
        return self._probe_at.get(push_service)

    def refuses_size(self, alert_id: int, push_service: str) -> bool:
        """Whether the push service has called this alert's message too large."""
        return (alert_id, push_service) in self._too_large

    def note(
        self,
        alert_id: int,
        push_service: str,
        outcome: Outcome,
        now: datetime,
        *,
        refused_before: bool,
        refused_lately: bool,
    ) -> None:
        """Take an answer into account. `refused_before`: the subscription was last time, too.

        If it was `refused_lately` for the first time, that may have been the push service's fault.
        """
        if isinstance(outcome, Rejected) and outcome.too_large:
            if not self.refuses_size(alert_id, push_service):
                log.error("message_too_large", push_service=push_service, alert=alert_id)
            self._too_large.add((alert_id, push_service))
            if push_service in self._probing:  # it works, but for this one message
                self._probing.discard(push_service)
                self._probe_answered(push_service, None)
            return
        if isinstance(outcome, Rejected) and outcome.status == 0:
            self._probing.discard(push_service)  # we did not ask it: another message must
            return
        self._note_throttling(push_service, outcome, now)
        self._note_refusal(
            push_service, outcome, is_new=not refused_before, is_recent=refused_lately
        )
        bad = isinstance(outcome, _BAD)
        if push_service in self._probing:
            self._probing.discard(push_service)
            self._probe_answered(push_service, outcome if bad else None)
        elif push_service not in self._probe_at and not (bad and refused_before):
            window = self._answers.get(push_service)
            if window is None:  # no setdefault: this is done for every answer
                window = self._answers[push_service] = breaker_window()
            window.add(bad=bad)
            refuses_all = self._newly_refused_in_a_row[push_service] >= ALL_REFUSED
            if window.is_bad or (bad and refuses_all):
                window.clear()
                self._newly_refused_in_a_row[push_service] = 0
                self._probe_at[push_service] = now + pause_before_probe(1)
                self._to_record.append(
                    partial(
                        push_services.open_breaker,
                        push_service=push_service,
                        reason=reason_of(outcome),
                    )
                )

    @property
    def has_news(self) -> bool:
        """Whether there is something that the other processes should know."""
        return bool(self._to_record)

    def sync(self) -> None:
        """Record openings and closings, and learn of other processes'. Raises SQLAlchemyError."""
        with self._db.write() if self._to_record else self._db.read() as session:
            for record in self._to_record:
                record(session)
            open_now = push_services.open_breakers(session)
        self._to_record.clear()
        self._take_over(open_now)

    def _take_over(self, open_now: dict[str, datetime]) -> None:
        for push_service in self._probe_at.keys() - open_now.keys():
            self._note_closing(push_service)
        self._probe_at = open_now
        self._probing &= open_now.keys()

    def _probe_answered(self, push_service: str, bad: Outcome | None) -> None:
        if bad is None:
            del self._probe_at[push_service]
            self._note_closing(push_service)
            record = partial(push_services.close_breaker, push_service=push_service)
        else:
            record = partial(
                push_services.note_failed_probe, push_service=push_service, reason=reason_of(bad)
            )
        self._to_record.append(record)

    def _note_closing(self, push_service: str) -> None:
        self._closings[push_service] += 1
        self._newly_refused_in_a_row[push_service] = 0

    def _note_refusal(
        self, push_service: str, outcome: Outcome, *, is_new: bool, is_recent: bool
    ) -> None:
        if isinstance(outcome, _TAKEN):
            self._refused_in_a_row[push_service] = 0
            self._newly_refused_in_a_row[push_service] = 0
        elif isinstance(outcome, Rejected):
            self._refused_in_a_row[push_service] += is_new or is_recent
            self._newly_refused_in_a_row[push_service] += is_new

    def _note_throttling(self, push_service: str, outcome: Outcome, now: datetime) -> None:
        window = self._throttled.get(push_service)
        if window is None:
            window = self._throttled[push_service] = throttle_window()
        window.add(bad=isinstance(outcome, Throttled))
        if isinstance(outcome, Throttled) and window.is_bad:
            window.clear()
            pause = min(outcome.retry_after or LONGEST_HOLD, LONGEST_HOLD)
            self._held_until[push_service] = now + pause
            log.warning("push_service_throttles", push_service=push_service)


class EndpointHolds:
    """The endpoints, by their hashes, that must not be asked yet, for any alert.

    What this process was told lately: the rest stands in the database, where others look, too.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, datetime] = {}

    def add(self, endpoint_hash: bytes, until: datetime) -> None:
        """Ask no more before `until`."""
        self._until.pop(endpoint_hash, None)
        if len(self._until) >= _MOST_ENDPOINTS:
            del self._until[next(iter(self._until))]
        self._until[endpoint_hash] = until

    def hold(self, endpoint_hash: bytes, now: datetime) -> datetime | None:
        """Until when the endpoint is to be left alone; None: it may be sent to."""
        until = self._until.get(endpoint_hash)
        return until if until is not None and until > now else None


def reason_of(outcome: Outcome) -> str:
    """What ops are told of a push service that is left alone since this answer."""
    if isinstance(outcome, Rejected):
        return f"refuses messages ({outcome.status})"
    return "fails or cannot be reached"

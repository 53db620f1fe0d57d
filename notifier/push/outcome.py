"""What a push service's answer means: an answer -> an outcome."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

SHORTEST_RETRY_AFTER = timedelta(seconds=1)
"""A push service that says "retry at once", or names a time gone by, still gets a breath."""
LONGEST_RETRY_AFTER = timedelta(days=7)
"""No alert is valid for longer, so whatever lies beyond means the same: not any more."""

_DELAY_SECONDS = re.compile(r"([0-9]{1,18})(?:\.[0-9]{1,9})?")
_ASKS_FOR_ANOTHER_TRY = frozenset({408, 421, 425})  # too slow, wrong connection, too early


class Answer(NamedTuple):
    """What came back for one request, or why nothing did.

    `status` is the final status, None when none arrived. `retry_after` and `wns_status` are the
    headers as they came. `request_written` tells whether the whole request had been handed to the
    connection. `error` is libcurl's name of what went wrong; with a status, it happened after it.
    """

    status: int | None
    retry_after: str | None = None
    wns_status: str | None = None
    request_written: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The push service has taken the message. `dropped`: and says that it has thrown it away."""

    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The subscription does not exist any more."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many messages; not before `retry_after` from now, when the push service said when."""

    retry_after: timedelta | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The push service refuses this message, and a repetition would not help.

    `status` is its answer, or 0 when we refused to send: the endpoint or the keys are not valid.
    """

    status: int
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The push service did not do its part; not before `retry_after` from now, when it said when.

    `ambiguous`: the request was written and nothing came back, so the message may arrive.
    """

    retry_after: timedelta | None
    ambiguous: bool = False


_ACCEPTED = Accepted()  # nearly all of them
_DROPPED = Accepted(dropped=True)

Outcome = Accepted | Gone | Throttled | Rejected | Unreachable


def outcome_of(answer: Answer, push_service: str, now: datetime) -> Outcome:
    """The outcome of an answer from `push_service` that arrived at `now`.

    What no rule names is decided by its class: another 2xx is Accepted (sending again would buzz
    twice), 3xx (never followed) and another 4xx are Rejected, another 5xx is Unreachable. 408, 421
    and 425 are Unreachable too: they ask for another try. A status outside 200 to 599 is none.
    """
    status = answer.status
    if status is None or not 200 <= status <= 599:
        return Unreachable(None, ambiguous=answer.request_written)
    wns_status = (answer.wns_status or "").strip().lower() if push_service == "wns" else ""
    if status == 429 or (status == 406 and push_service == "wns"):
        return Throttled(retry_after_of(answer, now))
    if status < 300:
        if wns_status == "channelthrottled":  # a success in name only: it was not queued
            return Throttled(retry_after_of(answer, now))
        return _DROPPED if wns_status == "dropped" else _ACCEPTED
    if status in (404, 410):
        return Gone()
    if status >= 500 or status in _ASKS_FOR_ANOTHER_TRY:
        return Unreachable(retry_after_of(answer, now))
    return Rejected(status, too_large=status == 413)


def retry_after_of(answer: Answer, now: datetime) -> timedelta | None:
    """How long to wait (RFC 9110, section 10.2.3): seconds or an HTTP date, None if neither.

    Kept between SHORTEST_RETRY_AFTER and LONGEST_RETRY_AFTER; fractions of a second round up.
    """
    text = (answer.retry_after or "").strip()
    delay = _DELAY_SECONDS.fullmatch(text)
    if delay:
        longest = int(LONGEST_RETRY_AFTER.total_seconds())
        wait = timedelta(seconds=min(int(delay[1]) + ("." in text), longest))
    else:
        try:
            not_before = parsedate_to_datetime(text)
            if not_before.tzinfo is None:  # written "-0000": UTC of an unknown place
                not_before = not_before.replace(tzinfo=UTC)
            wait = not_before - now
        except (ValueError, OverflowError):
            return None
    return min(max(wait, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)

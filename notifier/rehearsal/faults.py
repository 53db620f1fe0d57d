"""Faults on demand: which endpoints answer with an error, late, or in a way that does harm."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from itertools import accumulate
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_ROUNDING = 1e-9


def _require_retry_after(value: object) -> object:
    if value is None:
        return None
    parse_retry_after(str(value))
    return str(value)


class Harm(StrEnum):
    """What is wrong with the answer to a message that was accepted.

    Dropped: the connection is closed instead. Slow: a byte a second, so that the status line
    never gets through. Endless: 201 with a body that does not end. Compressed: 201 with a small
    body that unpacks to a very large one.
    """

    DROPPED = "dropped"
    SLOW = "slow"
    ENDLESS = "endless"
    COMPRESSED = "compressed"

    @property
    def withholds_status(self) -> bool:
        """Whether the sender cannot know that the message was accepted."""
        return self in (Harm.DROPPED, Harm.SLOW)


class FaultRule(BaseModel):
    """One kind of trouble for a share of the endpoints.

    status is the answer, or None to accept; delay is waited first, and harm is done to the answer
    of an accepted message. retry_after is the header's text: seconds or an HTTP date. The rule
    holds for the time `for` after it was set (None: until it is replaced) and for the first
    `times` valid requests to each endpoint (None: for all).
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, ser_json_timedelta="float"
    )

    status: int | None = Field(default=None, ge=300, le=599)
    share: float = Field(default=1.0, gt=0, le=1)
    retry_after: Annotated[str | None, BeforeValidator(_require_retry_after)] = None
    delay: timedelta = Field(default=timedelta(0), ge=timedelta(0))
    holds_for: timedelta | None = Field(default=None, alias="for", gt=timedelta(0))
    times: int | None = Field(default=None, ge=1)
    harm: Harm | None = None

    @model_validator(mode="after")
    def _do_something(self) -> "FaultRule":
        if self.status is None and not self.delay and self.harm is None:
            raise ValueError("a rule needs a status, a delay or a harm")
        if self.status is not None and self.harm is not None:
            raise ValueError("only the answer to an accepted message can be harmed")
        return self


@dataclass(frozen=True, slots=True)
class _RuleInForce:
    rule: FaultRule
    hits: Counter[int]


class Faults:
    """The rules in force. They cover disjoint shares of the endpoints, in the order given.

    Which endpoints a rule covers follows from their fault points alone: with rules of 10% and 5%,
    the first covers those below 0.1, the second those from there up to 0.15.
    """

    def __init__(self) -> None:
        self._rules: list[_RuleInForce] = []
        self._upper_bounds: list[float] = []
        self._set = 0.0

    @property
    def rules(self) -> list[FaultRule]:
        """The rules, in order."""
        return [in_force.rule for in_force in self._rules]

    def replace(self, rules: Sequence[FaultRule], now: float) -> None:
        """Put these rules in the place of the present ones; now is a monotonic time in seconds.

        Raises ValueError when their shares add up to more than 1.
        """
        upper_bounds = list(accumulate(rule.share for rule in rules))
        if upper_bounds and upper_bounds[-1] > 1 + _ROUNDING:
            raise ValueError("the shares add up to more than 1")
        self._rules = [_RuleInForce(rule, Counter()) for rule in rules]
        self._upper_bounds = upper_bounds
        self._set = now

    def covering(self, fault_point: float) -> int | None:
        """The position of the rule that covers an endpoint, or None."""
        position = bisect_right(self._upper_bounds, fault_point)
        return position if position < len(self._rules) else None

    def strike(self, number: int, fault_point: float, now: float) -> FaultRule | None:
        """The rule to apply to this request, which is counted; None when it is to pass."""
        position = self.covering(fault_point)
        if position is None:
            return None
        rule, hits = self._rules[position].rule, self._rules[position].hits
        if rule.holds_for is not None and now - self._set >= rule.holds_for.total_seconds():
            return None
        if rule.times is not None:
            if hits[number] >= rule.times:
                return None
            hits[number] += 1
        return rule


def parse_retry_after(text: str) -> timedelta:
    """How long from now a Retry-After header asks to wait (RFC 9110 section 10.2.3).

    Raises ValueError.
    """
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text))
    retry_at = parsedate_to_datetime(text)
    if retry_at.tzinfo is None:
        retry_at = retry_at.replace(tzinfo=UTC)
    return max(retry_at - datetime.now(UTC), timedelta(0))

"""What an outcome means for the ledger, and when somebody is tried again who was not reached."""

import random
from collections import Counter
from datetime import datetime, timedelta

from notifier.batch_run import BatchRun
from notifier.health import EndpointHolds, ServiceHealth
from notifier.ledger import Lease
from notifier.push import Accepted, Gone, Outcome, Rejected, Throttled, Unreachable
from notifier.push_services import ENOUGH_ANSWERS, MOSTLY_GONE, GoneEndpoint
from notifier.recipients import Recipient

FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(minutes=1)
LAST_TRY = timedelta(seconds=5)
"""How long before an alert expires a push service that fails is tried once more."""

OUR_FAULT_PERHAPS = (400, 401, 403)
MOST_DOUBTS = 5
"""So many rounds, of half a minute in all, has a batch for whom nobody was accepted after."""

LATELY = timedelta(minutes=10)
"""Who was refused for the first time so long before an alert may have been in the same outage."""


class Outcomes:
    """Records outcomes in the leases of their batches, and tells `health` and `holds` of them."""

    def __init__(self, health: ServiceHealth, holds: EndpointHolds) -> None:
        self._health = health
        self._holds = holds
        self._answers: Counter[str] = Counter()  # the last ones, up to ENOUGH_ANSWERS
        self._gone: Counter[str] = Counter()

    def settle(self, run: BatchRun, recipient: Recipient, outcome: Outcome) -> None:
        """Record what became of a message.

        Who is refused for what may be our own fault (400, 401, 403) waits for `settle_refused`.
        """
        lease, push_service = run.lease, recipient.push_service
        now = lease.now()
        lease.findings.answers[push_service] += 1
        if self._is_mostly_gone(push_service, outcome):
            lease.findings.mostly_gone.add(push_service)
        self._health.note(
            lease.alert.id,
            push_service,
            outcome,
            now,
            refused_before=recipient.refused_before,
            refused_lately=_was_refused_lately(lease, recipient),
        )
        match outcome:
            case Accepted(dropped=dropped):
                lease.settle(recipient.bit, "accepted")
                if dropped:
                    lease.findings.dropped[push_service] += 1
                if recipient.refused_before:
                    lease.findings.taken_again.append(recipient.subscription_id)
            case Gone():
                lease.settle(recipient.bit, "gone")
                lease.findings.gone.append(
                    GoneEndpoint(recipient.subscription_id, recipient.endpoint_hash, push_service)
                )
            case Rejected(status=status) if status in OUR_FAULT_PERHAPS:
                run.refused.append((recipient, self._health.closings(push_service)))
                # Also of who is asked again: he must not count twice against the push service.
                lease.findings.refused.append(recipient.subscription_id)
            case Rejected(status=status, too_large=too_large):
                lease.settle(recipient.bit, "rejected")
                if status and not too_large:  # else it is not the subscription's fault
                    lease.findings.refused.append(recipient.subscription_id)
            case Throttled() | Unreachable():
                self._try_again(run, recipient, outcome, now)

    def settle_refused(self, run: BatchRun) -> None:
        """Settle who was refused, but for those whose push service refuses everybody now.

        That is known by the batch's end, and not before; or a little later, when the batch ends
        just as that begins: then they are asked again.
        """
        lease = run.lease
        for recipient, closings in run.refused:
            held_until = self._health.open_until(recipient.push_service)
            if held_until is None and self._is_doubtful(lease, recipient, closings):
                held_until = next_try(lease, lease.now(), lease.rounds)
                run.fruitless = True
            if held_until is not None:
                run.leave(recipient.bit, held_until, recipient.push_service)
            else:
                lease.settle(recipient.bit, "rejected")
        run.refused.clear()

    def _is_mostly_gone(self, push_service: str, outcome: Outcome) -> bool:
        """Whether, after every so many answers, nearly all of them were Gone."""
        self._answers[push_service] += 1
        self._gone[push_service] += isinstance(outcome, Gone)
        if self._answers[push_service] < ENOUGH_ANSWERS:
            return False
        gone = self._gone[push_service]
        self._answers[push_service] = self._gone[push_service] = 0
        return gone > MOSTLY_GONE * ENOUGH_ANSWERS

    def _is_doubtful(self, lease: Lease, recipient: Recipient, closings: int) -> bool:
        """Whether it may have been everybody who was refused, and not only this one."""
        if self._health.closings(recipient.push_service) > closings:
            return True  # everybody was, and is no more
        if not self._health.is_in_doubt(recipient.push_service):
            return False
        if not recipient.refused_before:
            return True
        return _was_refused_lately(lease, recipient) and lease.rounds < MOST_DOUBTS

    def _try_again(
        self, run: BatchRun, recipient: Recipient, outcome: Throttled | Unreachable, now: datetime
    ) -> None:
        lease, endpoint_hash = run.lease, recipient.endpoint_hash
        if isinstance(outcome, Unreachable) and outcome.ambiguous:
            lease.note_uncertain(recipient.bit)
        if outcome.retry_after is None:
            run.fruitless = True
            run.leave(recipient.bit, next_try(lease, now, lease.rounds), recipient.push_service)
        else:
            asked = now + outcome.retry_after
            until = lease.findings.hold(recipient.subscription_id, endpoint_hash, asked)
            self._holds.add(endpoint_hash, until)
            run.leave(recipient.bit, until)


def _was_refused_lately(lease: Lease, recipient: Recipient) -> bool:
    refused_at = recipient.refused_at
    return refused_at is not None and refused_at > lease.alert.released_at - LATELY


def next_try(lease: Lease, now: datetime, rounds: int) -> datetime:
    """When to try again after so many fruitless rounds: once more before the alert expires, too."""
    until = now + _backoff(rounds)
    last = lease.alert.expires_at - LAST_TRY
    return last if now < last < until else until


def _backoff(rounds: int) -> timedelta:
    """How long to wait after the given number of fruitless rounds: doubling, with jitter."""
    pause: timedelta = min(FIRST_RETRY * 2 ** min(rounds, 10), LONGEST_RETRY)
    return pause * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing

"""Batches that crash who works on them: given back, and failed after five claims in vain."""

from datetime import timedelta

import structlog
from sqlalchemy import update
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from notifier.db import now_of
from notifier.errors import in_one_line
from notifier.models import Batch

MOST_FUTILE_CLAIMS = 5
RETRY_AFTER_A_CRASH = timedelta(seconds=2)

DAMAGED = (LookupError, TypeError, ValueError, NoResultFound)
"""What reading a damaged row raises."""

log = structlog.get_logger()


def futile_claims(batch: Batch) -> int:
    """How many claims in a row have settled nobody, the one that has just ended among them."""
    return batch.futile_claims + 1 if batch.waiting == batch.waiting_at_claim else 0


def give_back(session: Session, batch: Batch, error: Exception) -> None:
    """Have a batch claimed again after a while, or fail the rest of it; `error` is shown to ops."""
    batch.futile_claims = futile_claims(batch)
    batch.last_error = in_one_line(error)
    batch.claim_token = None
    batch.lease_until = None
    batch.not_before = now_of(session) + RETRY_AFTER_A_CRASH
    if batch.futile_claims >= MOST_FUTILE_CLAIMS:
        batch.failed += batch.waiting
        batch.waiting = 0
        batch.is_open = False


def fail_unread(session: Session, batch_id: int, error: Exception) -> None:
    """Fail a batch whose row cannot be read, and so could not be given back either."""
    log.error("batch_damaged", batch=batch_id, error=type(error).__name__)
    session.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.is_open)
        .values(
            failed=Batch.failed + Batch.waiting,
            waiting=0,
            is_open=False,
            claim_token=None,
            lease_until=None,
            last_error=in_one_line(error),
        )
        .execution_options(synchronize_session=False)
    )

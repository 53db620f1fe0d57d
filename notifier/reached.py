"""Who may have received a story's alerts: those whom a correction goes to."""

import heapq
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from notifier.models import Alert, Batch, BatchMembers

EXACT_UP_TO = 100_000
"""How many readers are counted one by one, which takes a tenth of a second."""

BEYOND_ALL = sys.maxsize
"""Higher than the id of any subscription."""

_BATCHES_AT_ONCE = 4  # of each alert, so that memory does not grow with the audience

_HAS_REACHED_SOMEBODY = or_(Batch.accepted > 0, Batch.uncertain_bits != 0, Batch.interrupted)


def ids_below(session: Session, alert: Alert, below: int, limit: int) -> list[int]:
    """The next `limit` ids under `below` that may have received an earlier alert of the story.

    From high to low, and each once, however many of those alerts it was. The answer can change
    as long as a worker is sending one of them.
    """
    earlier = select(Alert.id).where(
        Alert.story_id == alert.story_id, Alert.revision < alert.revision
    )
    return list(islice(_ids_of_all(session, session.scalars(earlier).all(), below), limit))


def size(session: Session, story_id: int) -> int:
    """How many a correction of the story would go to now; those who opted out since count too.

    Exact after one alert, and up to EXACT_UP_TO readers. Beyond that it is at most so many, as
    the same reader may have received several of the story's alerts.
    """
    alert_ids = session.scalars(select(Alert.id).where(Alert.story_id == story_id)).all()
    total = sum(_size_of(session, alert_id) for alert_id in alert_ids)
    if len(alert_ids) < 2 or total > EXACT_UP_TO:
        return total
    return sum(1 for _ in _ids_of_all(session, alert_ids, BEYOND_ALL))


def _size_of(session: Session, alert_id: int) -> int:
    """How many may have received one alert."""
    accepted = func.coalesce(func.sum(Batch.accepted), 0)
    certain = session.scalars(select(accepted).where(Batch.alert_id == alert_id)).one()
    doubtful = or_(Batch.uncertain_bits != 0, Batch.interrupted)
    batches = session.scalars(select(Batch).where(Batch.alert_id == alert_id, doubtful))
    return int(certain) + sum((bits(batch) & ~batch.accepted_bits).bit_count() for batch in batches)


def _ids_of_all(session: Session, alert_ids: Iterable[int], below: int) -> Iterator[int]:
    """Those of any of the alerts, from high ids to low ones, each once."""
    found = [_ids_of(session, alert_id, below) for alert_id in alert_ids]
    return (row_id for row_id, _ in groupby(heapq.merge(*found, reverse=True)))


def _ids_of(session: Session, alert_id: int, below: int) -> Iterator[int]:
    """Those of one alert. Its batches were planned from high ids to low ones."""
    query = (
        select(Batch, BatchMembers.subscription_ids)
        .join(BatchMembers, BatchMembers.batch_id == Batch.id)
        .where(Batch.alert_id == alert_id, _HAS_REACHED_SOMEBODY)
        .order_by(Batch.lowest_id.desc())
        .limit(_BATCHES_AT_ONCE)
    )
    while rows := session.execute(query.where(Batch.lowest_id < below)).all():
        for batch, ids in rows:
            reached = bits(batch)
            for bit, row_id in enumerate(ids):
                if row_id < below and reached >> bit & 1:
                    yield row_id
            below = batch.lowest_id


def bits(batch: Batch) -> int:
    """Which members of a batch may have received its alert."""
    reached = batch.accepted_bits | batch.uncertain_bits
    if batch.interrupted:
        reached |= (1 << batch.size) - 1 & ~batch.settled_bits
    return reached

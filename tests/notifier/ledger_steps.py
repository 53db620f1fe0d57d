"""Steps of the ledger that many tests take."""

from sqlalchemy import select

from notifier.db import Database
from notifier.ledger import Lease, Ledger
from notifier.models import Batch
from notifier.push_services import GoneEndpoint


def plan_all(ledger: Ledger) -> None:
    while ledger.plan():
        pass


def claimed(ledger: Ledger) -> Lease:
    lease = ledger.claim()
    assert lease is not None
    return lease


def work_off(ledger: Ledger, lease: Lease, count: str = "accepted") -> None:
    lease.settle_rest(count)
    ledger.finish(lease)


def batches_nobody_has_locked(db: Database) -> list[int]:
    """Those that another transaction could change without waiting (PostgreSQL only)."""
    with db.read() as session:
        return list(session.scalars(select(Batch.id).with_for_update(skip_locked=True)))


def answer_gone(lease: Lease, subscription_id: int, endpoint_hash: bytes) -> None:
    """What delivery notes when a push service has answered 404 or 410."""
    lease.findings.answers["fcm"] += 1
    lease.findings.gone.append(GoneEndpoint(subscription_id, endpoint_hash, "fcm"))

"""A publication with readers and alerts, for the tests of the domain."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from notifier import alerts, reports, subscriptions
from notifier import ledger as ledger_
from notifier.db import Database
from notifier.endpoints import Endpoint, endpoint_hash
from notifier.models import Alert, AlertKind, Batch, BatchMembers, Subscription
from notifier.proofs import Proof
from notifier.subscriptions import BrowserSubscription

HOUR = timedelta(hours=1)
P256DH = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
)


def browser(name: str = "", **changes: Any) -> BrowserSubscription:
    """What a browser subscribes with; without a name, an endpoint that nobody else has."""
    origin = "https://updates.push.services.mozilla.com"
    url = f"{origin}/wpush/v2/{name or os.urandom(12).hex()}"
    values = {
        "endpoint": Endpoint(url, origin, "mozilla"),
        "p256dh": P256DH,
        "auth": b"sixteen bytes ok",
    }
    return BrowserSubscription(**(values | changes))


def proof_of(browser: BrowserSubscription) -> Proof:
    """What a browser shows that it knows of its subscription."""
    return Proof(endpoint=browser.endpoint.url, p256dh=browser.p256dh, auth=browser.auth)


class Publication:
    """Shortcuts to a database: who reads, what is released, how it stands."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def add_readers(self, count: int, *, sections: Sequence[str] = ()) -> list[int]:
        """Have readers, as many opt-ins would make them; gives their ids, the oldest first."""
        with self.db.write() as session:
            first = subscriptions.opt_in(session, browser(), sections=sections).subscription
            like_it = {
                column.key: getattr(first, column.key)
                for column in Subscription.__table__.columns
                if column.key not in ("id", "endpoint", "endpoint_hash", "management_token_hash")
            }
            urls = [browser().endpoint.url for _ in range(count - 1)]
            rows = [
                Subscription(endpoint=url, endpoint_hash=endpoint_hash(url), **like_it)
                for url in urls
            ]
            session.add_all(rows)
            session.flush()
            return [first.id, *(row.id for row in rows)]

    def release(self, title: str = "Bridge closed", **options: Any) -> Alert:
        """Release an alert; `options` are those of Draft and of `alerts.release`."""
        draft = {
            name: options.pop(name)
            for name in ("body", "url", "image", "section_bits", "kind", "level")
            if name in options
        }
        draft = {"body": "", "url": "https://www.example.com/a", "kind": AlertKind.BREAKING} | draft
        options = {"validity": HOUR, "released_by": "test"} | options
        with self.db.write() as session:
            return alerts.release(session, alerts.Draft(title=title, **draft), **options)

    def stop(self, alert_id: int) -> Alert:
        with self.db.write() as session:
            return alerts.stop(session, alert_id)

    def alert(self, alert_id: int) -> Alert:
        with self.db.read() as session:
            return alerts.get(session, alert_id)

    def counts(self, alert_id: int) -> dict[str, int]:
        """The counts that are not zero."""
        with self.db.read() as session:
            counts = reports.progress(session, alerts.get(session, alert_id)).counts
        assert counts["audience"] == sum(n for name, n in counts.items() if name != "audience")
        return {name: count for name, count in counts.items() if count}

    def batches(self, alert_id: int) -> list[Batch]:
        query = select(Batch).where(Batch.alert_id == alert_id).order_by(Batch.id)
        with self.db.read() as session:
            return list(session.scalars(query))

    def batch(self, batch_id: int) -> Batch:
        with self.db.read() as session:
            return session.get_one(Batch, batch_id)

    def planned_ids(self, alert_id: int) -> list[int]:
        """Whom the alert is planned for, in the order of planning."""
        query = (
            select(BatchMembers.subscription_ids)
            .join(Batch, Batch.id == BatchMembers.batch_id)
            .where(Batch.alert_id == alert_id)
            .order_by(Batch.id)
        )
        with self.db.read() as session:
            return [row_id for ids in session.scalars(query) for row_id in ids]

    def subscription(self, subscription_id: int) -> Subscription | None:
        with self.db.read() as session:
            return session.get(Subscription, subscription_id)

    @contextmanager
    def changing(self, row: Any) -> Iterator[Any]:
        """The row as it is in the database, to change it behind the domain's back."""
        with self.db.write() as session:
            yield session.get_one(type(row), row.id)

    def expire_lease(self, lease: ledger_.Lease) -> None:
        """Have it that the holder died long ago."""
        with self.changing(self.batch(lease.batch_id)) as batch:
            batch.lease_until = batch.lease_until - HOUR

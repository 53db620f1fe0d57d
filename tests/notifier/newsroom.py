"""A publication whose readers are at a local push service, and a worker that delivers."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from publication import HOUR, Publication
from sqlalchemy import func, select, update

from notifier import subscriptions
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.delivery import Delivery
from notifier.endpoints import EndpointPolicy, decode_key, endpoint_hash
from notifier.health import EndpointHolds
from notifier.keys import load_vapid_keys
from notifier.ledger import Ledger
from notifier.models import Alert, Subscription
from notifier.notification import Appearance
from notifier.push import Sender, Transport, VapidSigner
from notifier.rehearsal.client import PushServiceControl
from notifier.subscriptions import BrowserSubscription

APPEARANCE = Appearance(icon="https://www.example.com/icon.png")
LONG = timedelta(seconds=60)


class Newsroom(Publication):
    """A publication whose readers are at the local push service, and a worker that delivers."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        control: PushServiceControl,
        *,
        also: Sequence[str] = (),
    ) -> None:
        """`also`: the origins of further push services that the worker may send to."""
        super().__init__(db)
        self.control = control
        self._policy = EndpointPolicy([control.origin, *also])
        self._keys = load_vapid_keys(db, settings.home)
        self.ledger = Ledger(db)
        self.sender: Sender[Any] = Sender(
            Transport(), VapidSigner(self._keys, "mailto:ops@example.com"), self._policy
        )
        self.delivery = self.worker(self.ledger)

    def worker(self, ledger: Ledger) -> Delivery:
        return Delivery(self.db, ledger, self.sender, APPEARANCE)

    def close(self) -> None:
        self.sender.close()

    def browsers(self, count: int, *, keep: bool = False) -> list[BrowserSubscription]:
        """Browsers that have subscribed at the push service but have not opted in yet."""
        key = self._keys[max(self._keys)].application_server_key
        return [
            BrowserSubscription(
                self._policy.check(reader["endpoint"]),
                decode_key(reader["keys"]["p256dh"], "p256dh"),
                decode_key(reader["keys"]["auth"], "auth"),
            )
            for reader in self.control.add_readers(count, vapid_public_key=key, keep=keep)
        ]

    def opt_in(self, count: int, *, keep: bool = False) -> list[BrowserSubscription]:
        browsers = self.browsers(count, keep=keep)
        with self.db.write() as session:
            first = subscriptions.opt_in(session, browsers[0]).subscription
            now = now_of(session)
            session.add_all(
                Subscription(
                    endpoint=browser.endpoint.url,
                    endpoint_hash=endpoint_hash(browser.endpoint.url),
                    push_service=browser.endpoint.push_service,
                    p256dh=browser.p256dh,
                    auth=browser.auth,
                    vapid_key_id=first.vapid_key_id,
                    created_at=now,
                    last_seen_at=now,
                )
                for browser in browsers[1:]
            )
        return browsers

    def deliver(self, delivery: Delivery | None = None, **options: Any) -> None:
        (delivery or self.delivery).run(LONG, **options)

    def deliver_until_over(self, *alerts: Alert, delivery: Delivery | None = None) -> None:
        """Deliver again and again, as doorbells have workers do; pytest-timeout ends it."""
        while not all(self.alert(alert.id).state.final for alert in alerts):
            self.deliver(delivery)

    def skip_waiting(self, alert: Alert) -> None:
        """Have it that the time before which nothing must be tried again is over."""
        for batch in self.batches(alert.id):
            with self.changing(batch) as row:
                row.not_before -= HOUR
                row.holds = {}
        with self.db.write() as session:
            session.execute(update(Subscription).values(hold_until=None))
        self.delivery._held_endpoints = EndpointHolds()

    def gone(self) -> int:
        query = select(func.count()).where(Subscription.gone_at.is_not(None))
        with self.db.read() as session:
            return session.scalars(query).one()

"""A rehearsal: simulated readers, one breaking article through the real API, and the reckoning."""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import requests
from sqlalchemy import insert, select

from notifier import tokens
from notifier.config import Settings
from notifier.db import Database, now_of
from notifier.endpoints import EndpointPolicy, endpoint_hash
from notifier.errors import NotifierError, NotReady
from notifier.keys import ensure_vapid_key
from notifier.models import AlertState, Subscription
from notifier.rehearsal.client import PushServiceControl
from notifier.tokens import Scope

ARTICLE_ID = "rehearsal-1"
_CHUNK = 5_000
_LOOK_EVERY = timedelta(milliseconds=200)

GONE_STATUSES = (404, 410)


@dataclass(frozen=True, slots=True)
class Fault:
    """A share (0 to 1) of the readers whose endpoints answer with this HTTP status.

    Those that are not gone answer so once, and ask to wait a second.
    """

    status: int
    share: float

    def as_rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"status": self.status, "share": self.share}
        if self.status not in GONE_STATUSES:
            rule |= {"times": 1, "retry_after": "1"}
        return rule


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What a rehearsal came to: the service's own counts beside what the push service saw."""

    alert: dict[str, Any]
    push_service: dict[str, Any]
    gone_rightly: bool

    @property
    def lost(self) -> int:
        return int(self.push_service["lost"])

    @property
    def duplicates(self) -> int:
        return int(self.push_service["duplicates"])

    @property
    def failures(self) -> list[str]:
        """What must not be, in words; empty when all is well."""
        counts, seen = self.alert["counts"], self.push_service
        settled = sum(counts[name] for name in counts if name != "audience")
        checks = {
            f"The alert ended as {self.alert['state']}.": self.alert["state"] != "finished",
            f"{self.lost} readers were lost.": self.lost > 0,
            f"{self.duplicates} messages were duplicates.": self.duplicates > 0,
            f"The counts add up to {settled}, not {counts['audience']}.": settled
            != counts["audience"],
            f"{counts['accepted']} were counted as accepted, {seen['accepted_readers']} were.":
            counts["accepted"] != seen["accepted_readers"],
            f"{seen['early']} requests came before the time asked for.": seen["early"] > 0,
            f"{seen['vapid_failures']} tokens were refused.": seen["vapid_failures"] > 0,
            f"{seen['sample']['failed']} messages could not be decrypted.":
            seen["sample"]["failed"] > 0,
            "Other subscriptions are gone than those that should be.": not self.gone_rightly,
        }  # fmt: skip
        return [sentence for sentence, is_wrong in checks.items() if is_wrong]


class Rehearsal:
    """Drives a running deployment whose readers are a local push service's.

    Its methods raise NotReady and requests.RequestException on failure.
    """

    def __init__(
        self, settings: Settings, control: PushServiceControl, name: str = "rehearsal"
    ) -> None:
        """`name` is its token's, which no other in the database may have."""
        self._control = control
        self._settings = settings
        self._db = Database(self._settings.database)
        with self._db.write() as session:
            self._token = tokens.create(session, Scope.ARTICLES_WRITE, name)

    def close(self) -> None:
        self._db.close()

    def enlist(
        self,
        readers: int,
        faults: Sequence[Fault],
        on_enlisted: Callable[[int], None],
        *,
        through: str | None = None,
    ) -> None:
        """Add readers to the push service and to the database, and set the faults.

        Their endpoints have the push service's own origin, or that of a proxy in front of it.
        """
        key = ensure_vapid_key(self._db, self._settings.home)
        policy = EndpointPolicy(self._settings.extra_push_origins)
        enlisted = self._control.add_readers(readers, vapid_public_key=key.application_server_key)
        while chunk := list(islice(enlisted, _CHUNK)):
            with self._db.write() as session:
                now = now_of(session)
                rows = []
                for browser in chunk:
                    url = browser["endpoint"]
                    if through is not None:
                        url = through + url.removeprefix(self._control.origin)
                    endpoint = policy.check(url)
                    rows.append(
                        {
                            "endpoint": endpoint.url,
                            "endpoint_hash": endpoint_hash(endpoint.url),
                            "push_service": endpoint.push_service,
                            "p256dh": _decoded(browser["keys"]["p256dh"]),
                            "auth": _decoded(browser["keys"]["auth"]),
                            "vapid_key_id": key.id,
                            "sections": 0,
                            "created_at": now,
                            "last_seen_at": now,
                        }
                    )
                session.execute(insert(Subscription), rows)
            on_enlisted(len(chunk))
        self._control.set_faults([fault.as_rule() for fault in faults])

    def publish(self, article_id: str = ARTICLE_ID) -> dict[str, Any]:
        """Publish a breaking article as a CMS would; answers its alert."""
        self._control.begin_wave()
        response = self.put_article(article_id)
        if not response.ok:
            raise NotReady(f"The article was refused ({response.status_code}): {response.text}")
        alert: dict[str, Any] = response.json()["alert"]
        return alert

    def put_article(self, article_id: str) -> requests.Response:
        """Send a breaking article as a CMS would, and answer what came back."""
        return requests.put(
            f"{self._settings.base_url}/api/v1/articles/{article_id}",
            headers={"Authorization": f"Bearer {self._token}"},
            json={
                "url": "https://news.example.com/rehearsal",
                "title": "JUST IN: This is a rehearsal",
                "summary": "Nothing has happened, and every reader has been told so.",
                "status": "published",
                "breaking": True,
            },
            timeout=30,
        )

    def alert(self, alert_id: int) -> dict[str, Any]:
        """Where the alert stands, as a CMS would ask."""
        response = requests.get(
            f"{self._settings.base_url}/api/v1/alerts/{alert_id}",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=10,
        )
        response.raise_for_status()
        alert: dict[str, Any] = response.json()
        return alert

    def follow(
        self,
        alert_id: int,
        within: timedelta,
        on_progress: Callable[[dict[str, int]], None] = lambda _counts: None,
    ) -> Reckoning:
        """Watch the alert until it has ended. Raises NotifierError when it takes too long."""
        end = time.monotonic() + within.total_seconds()
        while True:
            alert = self.alert(alert_id)
            on_progress(alert["counts"])
            if AlertState(alert["state"]).final:
                return Reckoning(alert, self._control.report(), gone_rightly=self._gone_rightly())
            if time.monotonic() > end:
                raise NotifierError(f"The alert has not ended within {within}: {alert['counts']}.")
            time.sleep(_LOOK_EVERY.total_seconds())

    def _gone_rightly(self) -> bool:
        """Whether exactly those are gone whose endpoints answer 404 or 410."""
        should = {
            endpoint_hash(endpoint)
            for rule in self._control.faults()
            if rule["status"] in GONE_STATUSES
            for endpoint in rule["endpoints"]
        }
        with self._db.read() as session:
            gone = select(Subscription.endpoint_hash).where(Subscription.gone_at.is_not(None))
            return should == set(session.scalars(gone))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

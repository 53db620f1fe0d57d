"""The whole service under measurement: its real processes, its readers, and what it costs."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import requests
from notifier import alerts, tokens
from notifier.db import Database, now_of
from notifier.endpoints import endpoint_hash
from notifier.keys import ensure_vapid_key
from notifier.models import Alert, Subscription
from notifier.rehearsal.deployment import Deployment, rehearsal_settings
from notifier.tokens import Scope
from sqlalchemy import insert, text

from bench import processes
from bench.readers import Reader, make_readers
from bench.sink import Sink

PROCFILE = Path(__file__).parent.parent / "Procfile"
_CHUNK = 10_000
_LOOK_EVERY = timedelta(milliseconds=250)


@dataclass(frozen=True)
class Round:
    """What sending one alert to everybody took, from the request to the alert's end."""

    cpu_s: float
    celery_cpu_s: float
    wall_s: float
    counts: dict[str, int]
    seconds_to: dict[str, float | None]
    planning_s: float


class Service:
    """A running deployment and its database's server, if that is a process of its own."""

    def __init__(self, deployment: Deployment, database_pid: int | None) -> None:
        self._deployment = deployment
        self._database_pid = database_pid
        self._db = Database(deployment.settings.database)
        self._http = requests.Session()
        self._articles = 0
        with self._db.write() as session:
            token = tokens.create(session, Scope.ARTICLES_WRITE, f"bench {os.urandom(4).hex()}")
        self._http.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        self._http.close()
        self._db.close()

    def subscribe(self, origin: str, count: int) -> list[Reader]:
        """Add readers straight to the database; answers the first thousand of them."""
        key = ensure_vapid_key(self._db, self._deployment.settings.home)
        shown: list[Reader] = []
        made = 0
        while made < count:
            readers = make_readers(origin, min(_CHUNK, count - made))
            made += len(readers)
            shown += islice(readers, max(0, 1000 - len(shown)))
            with self._db.write() as session:
                now = now_of(session)
                rows = [
                    {
                        "endpoint": reader.endpoint,
                        "endpoint_hash": endpoint_hash(reader.endpoint),
                        "push_service": origin,
                        "p256dh": reader.p256dh,
                        "auth": reader.auth,
                        "vapid_key_id": key.id,
                        "sections": 0,
                        "created_at": now,
                        "last_seen_at": now,
                    }
                    for reader in readers
                ]
                session.execute(insert(Subscription), rows)
        if not self._db.is_sqlite:
            # As autovacuum does in time. Nobody does it in SQLite, where figures of a thousand
            # readers would be held for those of the million that have come since.
            with self._db.write() as session:
                session.execute(text("ANALYZE"))
        return shown

    def publish(self) -> dict[str, Any]:
        """Publish a breaking article as a CMS would; answers its alert."""
        self._articles += 1
        response = self._http.put(
            f"{self._deployment.settings.base_url}/api/v1/articles/bench-{self._articles}",
            json={
                "url": f"https://news.example.com/politics/budget-vote-{self._articles}",
                "title": "Parliament passes budget after all-night sitting",
                "summary": "The coalition's spending plan was carried by 312 votes to 287.",
                "status": "published",
                "breaking": True,
            },
            timeout=30,
        )
        response.raise_for_status()
        alert: dict[str, Any] = response.json()["alert"]
        return alert

    def alert(self, alert_id: int) -> dict[str, Any]:
        response = self._http.get(
            f"{self._deployment.settings.base_url}/api/v1/alerts/{alert_id}", timeout=30
        )
        response.raise_for_status()
        alert: dict[str, Any] = response.json()
        return alert

    def stop(self, alert_id: int, within: timedelta = timedelta(minutes=2)) -> None:
        """Stop an alert, and wait until it has ended."""
        with self._db.write() as session:
            alerts.stop(session, alert_id)
        end = time.monotonic() + within.total_seconds()
        while not self._row(alert_id).state.final:
            if time.monotonic() > end:
                raise RuntimeError(f"the alert has not stopped within {within}")
            time.sleep(_LOOK_EVERY.total_seconds())

    def round(self, within: timedelta = timedelta(minutes=30)) -> Round:
        """Publish, and wait until everybody has been sent to."""
        cpu, celery, started = self.cpu_seconds(), self.celery_cpu_seconds(), time.monotonic()
        alert_id = self.publish()["id"]
        planned = None
        while True:
            row = self._row(alert_id)
            now = time.monotonic()
            if planned is None and row.planned_at is not None:
                planned = now
            if row.state.final:
                break
            if now - started > within.total_seconds():
                raise RuntimeError(f"the alert has not ended within {within}")
            time.sleep(_LOOK_EVERY.total_seconds())
        alert = self.alert(alert_id)
        return Round(
            self.cpu_seconds() - cpu,
            self.celery_cpu_seconds() - celery,
            now - started,
            alert["counts"],
            alert["seconds_to"],
            (planned or now) - started,
        )

    def _row(self, alert_id: int) -> Alert:
        """The alert as it stands; not by the API, where looking would cost the service itself."""
        with self._db.read() as session:
            return session.get_one(Alert, alert_id)

    def cpu_seconds(self) -> float:
        """Of web, worker, clock, broker and database until now."""
        roots = [program.pid for program in self._deployment.programs.values()]
        if self._database_pid is not None:
            roots.append(self._database_pid)
        return processes.cpu_seconds(roots)

    def celery_cpu_seconds(self) -> float:
        """Of Celery's main process, its supervisor and the broker: not of the process that sends.

        What Celery costs in that one, a task every twenty seconds, cannot be told apart.
        """
        programs = self._deployment.programs
        supervisor = programs["worker"].pid
        return processes.own_cpu_seconds(
            [programs["broker"].pid, supervisor, *processes.children(supervisor)]
        )

    def worker_peak_mb(self) -> float:
        """The most memory that any of the worker's processes has held."""
        return max(
            processes.peak_mb(pid)
            for pid in processes.family([self._deployment.programs["worker"].pid])
        )


@contextmanager
def running(
    home: Path,
    sink: Sink,
    *,
    database_url: str | None = None,
    database_pid: int | None = None,
    worker_processes: int = 1,
    connect_to: tuple[str, ...] = (),
) -> Iterator[Service]:
    """Run the service as the Procfile starts it, sending to the sink."""
    settings = rehearsal_settings(
        home,
        (sink.origin,),
        database_url=database_url,
        push_ca_file=sink.own_ca_file,
        push_connect_to=connect_to,
        worker_processes=worker_processes,
        article_hosts=(),
    )
    with Deployment(settings, PROCFILE) as deployment:
        service = Service(deployment, database_pid)
        try:
            yield service
        finally:
            service.close()

"""Where drills take place: the real processes, their database, and the local push services."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import redis
from drills.broker_relay import Relay
from drills.front import Front
from drills.stream_limit import StreamLimit
from kombu import Connection
from postgresql import Cluster
from sqlalchemy import delete, func, make_url, select, update

from notifier.db import Database, now_of
from notifier.jobs import Job, broker_url
from notifier.models import (
    Alert,
    AlertState,
    Article,
    Batch,
    BatchMembers,
    DoubtfulGone,
    OpenBreaker,
    ServiceAnswers,
    Story,
    Subscription,
)
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.deployment import (
    Deployment,
    LocalPushService,
    Program,
    free_port,
    rehearsal_settings,
    wait_until,
)
from notifier.rehearsal.rehearsal import Rehearsal
from web.queue import Queue
from worker import pulse

PROJECT = Path(__file__).parents[2]
PROCESSES = 2
CONCURRENCY = 100
SAMPLE = 0.05
MIXED = 100  # readers of one push service in a row, where there are two
LONG = timedelta(seconds=60)
ENDS_WITHIN = timedelta(seconds=180)  # a push service that throttles a third is slow
QUIET = timedelta(milliseconds=500)
LOOK_EVERY = timedelta(milliseconds=250)
LONGEST_WRITE = timedelta(seconds=3)

LATE = timedelta(milliseconds=400)
LATE_ANSWERS = {"delay": LATE.total_seconds()}
"""A fault for everybody: so late, 100 requests at once are 250 messages a second at most."""

CHECKPOINT = 200
"""What a process can have sent since its last checkpoint, as long as answers are late.

A checkpoint follows after half a second: a promise of docs/reliability.md, and so not taken from
the engine. In less than twice `LATE`, none of the 100 requests at once can be answered more than
twice. The 0.3 seconds to spare are for the checkpoint to begin on a busy machine.
"""


class Stage:
    """The whole service on one database, with every part where a drill can break it.

    Web reaches the broker through `web_relay`, worker and clock through `worker_relay`. Readers'
    endpoints lead to `push`: through `front` over HTTP/2 with TLS, or directly over HTTP/1.1.
    `other_push` is another push service, a stranger to the first.
    """

    def __init__(self, database: str, folder: Path, cluster: Cluster | None) -> None:
        self.database = database
        self.cluster = cluster
        self._folder = folder
        self._exits = ExitStack()
        self._enlisted: object = None
        self._is_warm = False
        self.articles = 0

    def __enter__(self) -> "Stage":
        with ExitStack() as exits:
            self._start(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything. Closing twice is fine."""
        self._exits.close()

    def _start(self, exits: ExitStack) -> None:
        folder, enter = self._folder, exits.enter_context
        folder.mkdir(parents=True, exist_ok=True)
        self.push = enter(LocalPushService(folder / "push", SAMPLE))
        self.other_push = enter(LocalPushService(folder / "other_push", SAMPLE))
        self.front = enter(Front(folder / "front", _port_of(self.push.origin)))
        self.stream_limit = enter(
            StreamLimit(self.front.goaway_port, self.front.certificate, self.front.key)
        )
        url = None if self.cluster is None else enter(self.cluster.database())
        origins = (self.push.origin, self.other_push.origin)
        origins += (self.front.origin, self.front.unbuffered_origin, self.stream_limit.origin)
        self.settings = rehearsal_settings(
            folder / "home",
            origins,
            database_url=url,
            push_ca_file=self.front.certificate,
            worker_processes=PROCESSES,
            send_concurrency=CONCURRENCY,
            opt_in_rate="100000 per minute",
        )
        web_port, worker_port = free_port(), free_port()
        self.web_relay = enter(Relay(web_port, self.settings.broker_port))
        self.worker_relay = enter(Relay(worker_port, self.settings.broker_port))
        self.deployment = Deployment(self.settings, PROJECT / "Procfile")
        self.programs = self.deployment.programs
        self.programs["web"].environment["BROKER_PORT"] = str(web_port)
        for name in ("worker", "clock"):
            self.programs[name].environment["BROKER_PORT"] = str(worker_port)
        enter(self.deployment)
        self.db = Database(self.settings.database)
        exits.callback(self.db.close)
        self.rehearsal = Rehearsal(self.settings, self.push.control)
        exits.callback(self.rehearsal.close)
        reading = _ReadingControl(self.push.origin)
        exits.callback(reading.close)
        self.reading_rehearsal = Rehearsal(self.settings, reading, "reading")
        exits.callback(self.reading_rehearsal.close)
        self.other_rehearsal = Rehearsal(self.settings, self.other_push.control, "other")
        exits.callback(self.other_rehearsal.close)
        self._queue = Queue(broker_url(self.settings))

    # Readers

    def enlist(
        self,
        readers: int,
        *,
        through: tuple[str, ...] = (),
        all_read: bool = False,
        afresh: bool = False,
    ) -> bool:
        """Have this many readers, and no others; by default those of the last round, if alike.

        They come in equal parts `through` each of these origins, or all through the front. With
        `all_read`, every message is decrypted. A first alert in peace warms everything up. Answers
        whether they are new.
        """
        through = through or (self.front.origin,)
        wanted = (readers, through, all_read)
        if self._enlisted == wanted and not afresh:
            return False
        self.forget_readers()
        for origin in through:
            rehearsal = self.reading_rehearsal if all_read else self.rehearsal
            self._add(rehearsal, readers // len(through), origin)
        self._enlisted = wanted
        if not self._is_warm:
            self.wait_for_end(self.publish())
            self._is_warm = True
        return True

    def enlist_at_both(self, readers: int) -> None:
        """Half of the readers at each of the two push services, in every batch."""
        if self._enlisted == readers:
            return
        self.forget_readers()
        for _ in range(readers // (2 * MIXED)):
            self._add(self.rehearsal, MIXED, self.front.origin)
            self._add(self.other_rehearsal, MIXED, self.other_push.origin)
        self._enlisted = readers

    @contextmanager
    def without_readers_of(self, origin: str) -> Iterator[None]:
        """Until the block ends, be without those of a push service, as if they were gone."""
        theirs = update(Subscription).where(Subscription.endpoint.startswith(f"{origin}/"))
        with self.db.write() as session:
            session.execute(theirs.values(gone_at=now_of(session)))
        yield
        with self.db.write() as session:
            session.execute(theirs.values(gone_at=None))

    def forget_readers(self) -> None:
        """Have no readers, alerts or articles any more."""
        self._enlisted = None
        self.push.control.forget_readers()
        self.other_push.control.forget_readers()
        tables = (DoubtfulGone, ServiceAnswers, BatchMembers, Batch, Alert, Article, Story)
        with self.db.write() as session:
            for table in (*tables, OpenBreaker, Subscription):
                session.execute(delete(table))

    def forget_enlisted(self) -> None:
        """Have the next drill enlist readers of its own: something was done to these."""
        self._enlisted = None

    @staticmethod
    def _add(rehearsal: Rehearsal, readers: int, through: str) -> None:
        rehearsal.enlist(readers, [], lambda _: None, through=through)

    # Alerts

    def article_id(self) -> str:
        self.articles += 1
        return f"drill-{self.articles}"

    def publish(self) -> int:
        """Publish a new breaking article; answers its alert."""
        self.other_push.control.begin_wave()
        return int(self.rehearsal.publish(self.article_id())["id"])

    def accepted(self) -> int:
        """How many messages the push service has accepted in this wave."""
        return int(self.push.control.report()["accepted"])

    def accepted_when_quiet(self) -> int:
        """How many were accepted, once nothing has come in for half a second."""
        accepted, since = self.accepted(), time.monotonic()
        while time.monotonic() - since < QUIET.total_seconds():
            time.sleep(0.05)
            now = self.accepted()
            if now != accepted:
                accepted, since = now, time.monotonic()
        return accepted

    def wait_for_end(self, alert_id: int, within: timedelta = ENDS_WITHIN) -> dict[str, Any]:
        """The alert as the API shows it when it is over."""
        last: dict[str, Any] = {}

        def is_over() -> bool:
            nonlocal last
            time.sleep(LOOK_EVERY.total_seconds())
            last = self.rehearsal.alert(alert_id)
            return AlertState(last["state"]).final

        try:
            wait_until(is_over, within, "the alert's end")
        except Exception as error:
            raise AssertionError(f"{error} {last.get('state')}, {last.get('counts')}") from error
        return last

    # Ledger

    def can_write(self) -> bool:
        """Whether the database lets anybody write: SQLite does not while another is about it."""
        if not self.db.is_sqlite:
            return True
        path = make_url(self.settings.database).database
        with closing(sqlite3.connect(str(path), timeout=LONGEST_WRITE.total_seconds())) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
        return True

    def tokens_held(self) -> set[str]:
        """The claims that have not been given back."""
        with self.db.read() as session:
            return set(
                session.scalars(select(Batch.claim_token).where(Batch.claim_token.is_not(None)))
            )

    def recorded(self, alert_id: int) -> int:
        """How many messages of an alert have been accepted by the ledger."""
        with self.db.read() as session:
            query = select(func.coalesce(func.sum(Batch.accepted), 0))
            return session.scalars(query.where(Batch.alert_id == alert_id)).one()

    def held(self) -> dict[int, int]:
        """The batches that somebody has claimed, and how many of each wait by the ledger."""
        with self.db.read() as session:
            query = select(Batch.id, Batch.waiting).where(Batch.claim_token.is_not(None))
            return {row.id: row.waiting for row in session.execute(query)}

    def has_gone_on(self, held: dict[int, int]) -> bool:
        """Whether more has been recorded of any of these batches since they were held so."""
        with self.db.read() as session:
            query = select(Batch.id, Batch.waiting).where(Batch.id.in_(held))
            return any(waiting < held[batch_id] for batch_id, waiting in session.execute(query))

    def batches(self) -> list[tuple[Any, ...]]:
        """All that the ledger has of all batches."""
        with self.db.read() as session:
            rows = session.execute(select(*Batch.__table__.columns).order_by(Batch.id))
            return [tuple(row) for row in rows]

    def gone(self) -> int:
        """How many subscriptions have been deactivated."""
        with self.db.read() as session:
            query = select(func.count()).where(Subscription.gone_at.is_not(None))
            return session.scalars(query).one()

    # Processes

    def celery(self) -> psutil.Process:
        """Celery's main process, as soon as there is one."""
        supervisor = psutil.Process(self.programs["worker"].pid)
        wait_until(lambda: bool(supervisor.children()), LONG, "a Celery process")
        return supervisor.children()[0]

    def busiest_child(self) -> psutil.Process:
        """The worker process that does most of the work just now."""
        children = self.celery().children()
        before = {child: sum(child.cpu_times()[:2]) for child in children}
        time.sleep(LATE.total_seconds())  # when answers are late, work comes in bursts
        return max(children, key=lambda child: sum(child.cpu_times()[:2]) - before[child])

    @contextmanager
    def another_worker(self, **environment: str) -> Iterator[Program]:
        """A second worker group beside the first, until the block ends."""
        worker = self.programs["worker"]
        again = Program(
            "another_worker",
            worker.command,
            worker.environment | environment,
            self.settings.home,
        )
        again.output.unlink(missing_ok=True)
        again.start()
        try:
            wait_until(lambda: " ready." in again.complaints(), LONG, "another worker")
            yield again
        finally:
            again.stop()

    def ring(self) -> bool:
        """Put a doorbell into the queue, around the relays; answers whether the broker took it."""
        return self._queue.ring(Job.DELIVER)

    def has_a_pulse(self) -> bool:
        """Whether the worker's consumer takes messages; asks as its supervisor does.

        Several, as one is swallowed by a connection that has fallen silent while it waited. Raises
        kombu.exceptions.OperationalError when the broker is away.
        """
        queue = pulse.queue_of(self.programs["worker"].pid)
        with Connection(broker_url(self.settings), transport_options={"max_retries": 0}) as broker:
            for _ in range(3):
                pulse.ask(broker, queue)
                time.sleep(0.1)
                if broker.default_channel.client.llen(queue):
                    return False
        return True

    def logged_since(self, marks: dict[str, int]) -> dict[str, str]:
        """What each program has logged since `log_marks`."""
        return {
            name: program.output.read_text(errors="replace")[marks.get(name, 0) :]
            for name, program in self.programs.items()
        }

    def log_marks(self) -> dict[str, int]:
        return {
            name: len(program.output.read_text(errors="replace"))
            for name, program in self.programs.items()
        }

    def broker(self) -> "redis.Redis[bytes]":
        """A connection of the drill's own to the broker, around the relays."""
        return redis.Redis.from_url(broker_url(self.settings), socket_timeout=2)


class _ReadingControl(PushServiceControl):
    """Has every message decrypted of the readers that it adds."""

    def add_readers(self, count: int, **about: Any) -> Iterator[dict[str, Any]]:
        return super().add_readers(count, **about | {"keep": True})


def _port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])

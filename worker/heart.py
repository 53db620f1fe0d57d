"""The worker's heartbeat: tells ops, through the database, that a worker answers its pulse.

In a thread of its own, so that a database that is slow or away never keeps the supervisor from
watching.
"""

import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from notifier import heartbeats
from notifier.db import Database
from notifier.models import Program

log = structlog.get_logger()


class Heart:
    """Beats every few seconds in which the worker has answered."""

    def __init__(self, url: str) -> None:
        self._db = Database(url)
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def answered(self) -> None:
        """The worker has just proved that it takes messages."""
        self._answered.set()

    def _beat(self) -> None:
        pause = threading.Event()
        while True:
            self._answered.wait()
            self._answered.clear()
            try:
                heartbeats.beat(self._db, Program.WORKER)
            except SQLAlchemyError as error:
                log.warning("heartbeat_failed", error=type(error).__name__)
            pause.wait(heartbeats.BEAT_EVERY.total_seconds())

"""Ringing the workers: a producer that never waits long for a broker, and never fails."""

import time
from datetime import timedelta

import structlog
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from notifier.jobs import Job

TIMEOUT = timedelta(seconds=1)
PAUSE_AFTER_FAILURE = timedelta(seconds=1)

log = structlog.get_logger(__name__)


class Queue:
    """Rings by job name. A ring that is lost costs seconds only: the clock finds the work."""

    def __init__(self, broker_url: str) -> None:
        """Connects to nothing yet. `broker_url` holds a password and appears in no log."""
        seconds = TIMEOUT.total_seconds()
        self._celery = Celery("notifier-web", broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            accept_content=["json"],
            task_serializer="json",
            task_ignore_result=True,
            broker_connection_timeout=seconds,
            broker_transport_options={
                "socket_timeout": seconds,
                "socket_connect_timeout": seconds,
                "connect_retries_timeout": seconds,
                "max_retries": 0,
            },
        )
        self._silent_until = float("-inf")

    def ring(self, job: Job) -> bool:
        """Ask a worker to look for work of this job; answers whether the broker took it.

        Waits two seconds at most for a broker that is down or silent, and then leaves it alone
        for a second, so that requests do not queue up behind it.
        """
        if time.monotonic() < self._silent_until:
            return False
        try:
            self._celery.send_task(job.value, queue=job.value, retry=False, ignore_result=True)
        except (KombuError, RedisError, OSError) as error:
            self._silent_until = time.monotonic() + PAUSE_AFTER_FAILURE.total_seconds()
            # Only the kind of error: its text may hold the broker's URL.
            log.warning("broker_unreachable", job=job.value, error=type(error).__name__)
            return False
        return True

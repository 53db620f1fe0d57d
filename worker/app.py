"""The Celery application: JSON doorbells on Redis, nothing kept, nothing scheduled."""

import os
import warnings
from functools import partial
from typing import Any

from celery import Celery
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import set_pdeathsig
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutting_down
from celery.worker.consumer import Consumer
from kombu import Connection, Exchange, Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from notifier.config import get_settings
from notifier.jobs import Job, broker_url
from notifier.log import configure
from worker import process, pulse

BROKER_ERRORS = (KombuError, RedisError, OSError)
"""What asking the broker can raise: it is away, or it refuses, as its disk is full or it has become
a replica."""


class PromptConsumer(Consumer):
    """Looks for a lost broker twice a second; Celery's own pauses grow to half a minute."""

    def ensure_connected(self, conn: Connection) -> Connection:
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.2, interval_step=0.1, interval_max=0.5
        )
        return super().ensure_connected(conn)


settings = get_settings()

app = Celery("notifier", include=["worker.tasks"])
app.conf.update(
    broker_url=broker_url(settings),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,
    broker_transport_options={
        "socket_connect_timeout": 2,
        "socket_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # A ring fails at once when the broker is away; the clock rings again in a second.
        "max_retries": 0,
        "connect_retries_timeout": 2,
        # Only how soon a doorbell rings again that a killed worker had in hand; the clock is
        # faster.
        "visibility_timeout": 60,
    },
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_acks_late=False,
    task_queues=[Queue(job.value, Exchange(job.value), routing_key=job.value) for job in Job],
    task_routes={job.value: {"queue": job.value} for job in Job},
    worker_consumer=f"{__name__}:{PromptConsumer.__name__}",
    worker_concurrency=settings.worker_processes,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
)
app.steps["consumer"].add(pulse.Pulse)


@worker_init.connect
def _die_with_supervisor(**_: Any) -> None:
    # Where the system can: otherwise a worker whose supervisor was killed would go on unwatched.
    if pulse.QUEUE in os.environ:
        set_pdeathsig("SIGKILL")


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    configure(settings)


@worker_ready.connect
def _spare_the_log(**_: Any) -> None:
    # Said at every loss of the broker; what it advises against is what doorbells need. Celery
    # itself has switched it on while it started.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


@worker_shutting_down.connect
def _leave(**_: Any) -> None:
    process.leave()

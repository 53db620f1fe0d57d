"""Rings workers: tells them that there is something to do, never what."""

import structlog

from notifier.jobs import Job
from worker.app import BROKER_ERRORS, app

log = structlog.get_logger()


def ring(job: Job, times: int = 1) -> bool:
    """Put up to `times` doorbells into the job's queue; False when the broker does not take them.

    There are never more waiting than worker processes: each of them finds everything that is
    due by itself. A ring that is lost is made good by the clock.
    """
    try:
        with app.connection_or_acquire() as connection:
            waiting = connection.default_channel.client.llen(job.value)
            for _ in range(min(times, app.conf.worker_concurrency - waiting)):
                app.send_task(job.value, connection=connection, retry=False)
    except BROKER_ERRORS as error:
        log.warning("ring_failed", job=job.value, error=type(error).__name__)
        return False
    return True

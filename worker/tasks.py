"""The Celery tasks: one call each."""

from datetime import timedelta

from notifier.jobs import Job
from worker import process
from worker.app import app
from worker.doorbell import ring

WORK_FOR = timedelta(seconds=20)


@app.task(name=Job.FAN_OUT.value)
def fan_out() -> None:
    """Plan every alert that is not wholly planned; others send what is planned meanwhile."""
    while not process.leaving.is_set() and process.current().ledger.plan():
        ring(Job.DELIVER, times=app.conf.worker_concurrency)


@app.task(name=Job.DELIVER.value)
def deliver() -> None:
    """Work on whatever is due, and let another go on after a while."""
    worker = process.current()
    worker.delivery.run(WORK_FOR, keep_going=lambda: not process.leaving.is_set())
    if worker.ledger.due(most=1).batches:
        ring(Job.DELIVER)

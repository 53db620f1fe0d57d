"""The Celery tasks: one call each."""

from datetime import timedelta

from notifier.jobs import Job
from worker import process
from worker.app import app
from worker.doorbell import ring

WORK_FOR = timedelta(seconds=20)


@app.task(name=Job.DELIVER.value)
def deliver() -> None:
    """Plan and send whatever is due, with the others' help, and let another go on after a while.

    While a large alert goes out every process is busy here, so messages of readers' own get a turn
    at the end: they wait for one such task at most, and an alert never waits for them.
    """
    worker = process.current()
    worker.delivery.run(
        WORK_FOR,
        keep_going=lambda: not process.is_leaving(),
        call_others=lambda: ring(Job.DELIVER, times=app.conf.worker_concurrency),
    )
    if not process.is_leaving():
        worker.own_messages.send_some()
    if worker.ledger.due(most=1).batches:
        ring(Job.DELIVER)


@app.task(name=Job.OWN_MESSAGES.value)
def send_own_messages() -> None:
    """Send welcomes and tests until none is due, or until an alert is: it goes first."""
    worker = process.current()
    while not process.is_leaving() and worker.own_messages.send_some():
        due = worker.ledger.due(most=1)
        if due.unplanned or due.batches:
            return  # `deliver` sends some of the rest each time, and the clock rings for it

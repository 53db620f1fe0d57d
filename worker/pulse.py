"""The worker's pulse: proves that its consumer really takes messages from the broker.

Celery's consumer has been seen to hang after its broker was restarted: connected, alive and deaf.
So the supervisor sends it a message a second through the broker, which the worker's main process
answers by a byte through a pipe.
"""

import os
from typing import Any

from celery import bootsteps
from kombu import Connection, Consumer, Producer, Queue

QUEUE = "NOTIFIER_PULSE_QUEUE"
PIPE = "NOTIFIER_PULSE_PIPE"
"""Where the supervisor tells the worker which queue to listen to, and which pipe to answer by."""


def queue_of(supervisor: int) -> str:
    """The queue of the worker that the process with this id supervises on this host."""
    return f"notifier.pulse.{os.uname().nodename}.{supervisor}"


class Pulse(bootsteps.ConsumerStep):
    """Answers the supervisor's messages; without a supervisor there are none."""

    def get_consumers(self, channel: Any) -> list[Consumer]:
        if QUEUE not in os.environ:
            return []
        queue = Queue(os.environ[QUEUE], channel=channel)
        return [Consumer(channel, [queue], callbacks=[self._answer], no_ack=True)]

    def _answer(self, _body: object, _message: object) -> None:
        os.write(int(os.environ[PIPE]), b".")


def ask(connection: Connection, queue: str) -> None:
    """Send one message to the worker, unless earlier ones still wait.

    Raises the connection's errors.
    """
    channel = connection.default_channel
    if channel.client.llen(queue) == 0:
        Producer(channel).publish({}, routing_key=queue, exchange="", retry=False)

"""Keeps a Celery worker alive: starts it again when it dies or no longer takes messages."""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from notifier.clock import boot_time
from notifier.config import get_settings
from notifier.log import configure
from worker import pulse
from worker.app import BROKER_ERRORS, app
from worker.heart import Heart

COMMAND = (sys.executable, "-m", "worker")

ASK_EVERY = timedelta(seconds=1)
STARTS_WITHIN = timedelta(seconds=30)
ANSWERS_WITHIN = timedelta(seconds=5)
ENDS_WITHIN = timedelta(seconds=7)  # requests in flight take 5 s at most
PAUSE_BEFORE_RESTART = timedelta(seconds=1)

log = structlog.get_logger()


@dataclass
class Silence:
    """For how long the worker has owed an answer, counting only while the broker is reachable."""

    patience: timedelta
    since: float | None = field(default=None, init=False)

    def asked(self, now: float) -> None:
        if self.since is None:
            self.since = now

    def answered(self) -> None:
        self.since = None
        self.patience = ANSWERS_WITHIN

    def broker_is_away(self) -> None:
        """The worker cannot be blamed now, and needs a moment once the broker is back."""
        self.since = None

    def is_too_long(self, now: float) -> bool:
        return self.since is not None and now - self.since > self.patience.total_seconds()


class Supervisor:
    """One worker, started again and again until this process is told to stop."""

    def __init__(self) -> None:
        self._queue = pulse.queue_of(os.getpid())
        self._stopping = False
        self._worker: subprocess.Popen[bytes] | None = None
        self._connection = app.connection_for_write()
        self._heart = Heart(get_settings().database)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; the worker has ended too when this returns."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._heart.start()
        while not self._stopping:
            self._run_once()
            if not self._stopping:
                time.sleep(PAUSE_BEFORE_RESTART.total_seconds())

    def _run_once(self) -> None:
        read, write = os.pipe()
        environment = os.environ | {pulse.QUEUE: self._queue, pulse.PIPE: str(write)}
        self._worker = subprocess.Popen(COMMAND, env=environment, pass_fds=[write])  # noqa: S603
        os.close(write)
        try:
            self._watch(self._worker, read)
        finally:
            os.close(read)
            self._end(self._worker)

    def _watch(self, worker: subprocess.Popen[bytes], answers: int) -> None:
        """Return when the worker has died, hangs, or is to stop."""
        silence = Silence(STARTS_WITHIN)
        while not self._stopping:
            if self._ask():
                silence.asked(boot_time())
            else:
                silence.broker_is_away()
            ready, _, _ = select.select([answers], [], [], ASK_EVERY.total_seconds())
            if ready:
                if not os.read(answers, 1024):
                    worker.wait()
                    log.error("worker_died", exit_code=worker.returncode)
                    return
                silence.answered()
                self._heart.answered()
                time.sleep(ASK_EVERY.total_seconds())
            elif silence.is_too_long(boot_time()):
                log.error("worker_deaf", seconds=silence.patience.total_seconds())
                return

    def _ask(self) -> bool:
        try:
            pulse.ask(self._connection, self._queue)
        except BROKER_ERRORS:
            self._connection.collect()
            return False
        return True

    def _end(self, worker: subprocess.Popen[bytes]) -> None:
        """Let it finish what is in flight, and end it by force when it does not end."""
        if worker.poll() is None:
            worker.terminate()
            try:
                worker.wait(ENDS_WITHIN.total_seconds())
            except subprocess.TimeoutExpired:
                log.error("worker_killed")
                worker.kill()
                worker.wait()

    def _stop(self, *_: object) -> None:
        self._stopping = True
        if self._worker is not None and self._worker.poll() is None:
            self._worker.terminate()


def main() -> None:
    """Supervise a worker until SIGTERM or SIGINT."""
    configure(get_settings())
    Supervisor().run()


if __name__ == "__main__":
    main()

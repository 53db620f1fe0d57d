"""The service's real processes in a home of their own, for rehearsals, tests and drills."""

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import IO, Self

import requests

from notifier.config import Settings
from notifier.errors import NotReady
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import DEFAULT_SAMPLE
from notifier.run import BROKER, commands_of, process_environment
from notifier.setup import prepare

START_TIME = timedelta(seconds=60)
STOP_TIME = timedelta(seconds=15)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], within: timedelta, what: str) -> None:
    """Return as soon as the condition holds. Raises NotReady, naming `what`, when it does not."""
    end = time.monotonic() + within.total_seconds()
    while not condition():
        if time.monotonic() > end:
            raise NotReady(f"{what}: not within {within.total_seconds():.0f} s.")
        time.sleep(0.1)


class Program:
    """A started program in a process group of its own, its output in a file."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], home: Path
    ) -> None:
        self.name = name
        self.output = home / f"{name}.log"
        self.command = command
        self.environment = environment
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_stop = False

    @property
    def pid(self) -> int:
        if self._process is None:
            raise NotReady(f"{self.name} is not running.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Its working directory is its home, so that no `.env` is read."""
        output: IO[bytes]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the Procfile's own commands
                self.command,
                env=self.environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._told_to_stop = False

    def tell_to_stop(self, number: Signals = SIGTERM) -> None:
        """Send the signal to its whole group, once, and do not wait."""
        if self._process is not None and not self._told_to_stop:
            self._told_to_stop = True
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def stop(self, number: Signals = SIGTERM) -> None:
        """End it and everything it started; with force when it has not ended in time."""
        self.tell_to_stop(number)
        if self._process is None:
            return
        process, self._process = self._process, None
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIME.total_seconds())
        with suppress(ProcessLookupError):
            os.killpg(process.pid, SIGKILL)
        process.wait()

    def complaints(self) -> str:
        """The end of its output."""
        return self.output.read_text(errors="replace")[-2000:] if self.output.exists() else ""


class Deployment:
    """Web, worker, clock and broker as the Procfile starts them.

    `settings` must name free ports and a home that may be written to; see `rehearsal_settings`.
    """

    def __init__(self, settings: Settings, procfile: Path) -> None:
        self.settings = settings
        settings.home.mkdir(parents=True, exist_ok=True)
        self.programs = {
            name: Program(
                name,
                shlex.split(command.removeprefix("exec ")),
                process_environment(settings),
                settings.home,
            )
            for name, command in commands_of(settings, procfile).items()
        }

    def __enter__(self) -> Self:
        """Set up and start everything. Raises NotReady with the log of what does not start."""
        try:
            prepare(self.settings)
            for program in self.programs.values():
                program.start()
            _wait_for(self.programs["web"], self._web_is_up)
            _wait_for(self.programs["worker"], self._worker_is_up)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything, the broker last, so that the others do not complain."""
        others = [program for name, program in self.programs.items() if name != BROKER]
        for program in others:
            program.tell_to_stop()
        for program in (*others, *self.programs.values()):
            program.stop()

    def _web_is_up(self) -> bool:
        return _answers(f"{self.settings.base_url}/healthz")

    def _worker_is_up(self) -> bool:
        return " ready." in self.programs["worker"].complaints()


class LocalPushService:
    """A push service in a process of its own; `control` tells it what to do."""

    def __init__(self, home: Path, sample: float = DEFAULT_SAMPLE) -> None:
        """`sample` is the share of simulated readers that decrypt what they receive."""
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        self.control = PushServiceControl(self.origin)
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "notifier.rehearsal.push_service", "--port", str(port)]
        command += ["--sample", str(sample)]
        self._program = Program("push_service", command, dict(os.environ), home)

    def __enter__(self) -> Self:
        """Start it. Raises NotReady with its log when it does not."""
        try:
            self._program.start()
            _wait_for(self._program, lambda: _answers(f"{self.origin}/control/report"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.control.close()
        self._program.stop()


def _wait_for(program: Program, is_up: Callable[[], bool]) -> None:
    try:
        wait_until(lambda: is_up() or not program.is_running, START_TIME, program.name)
    except NotReady as error:
        raise NotReady(f"{error}\n{program.complaints()}") from None
    if not program.is_running:
        raise NotReady(f"{program.name} has ended.\n{program.complaints()}")


def rehearsal_settings(
    home: Path, push_origins: tuple[str, ...], *, database_url: str | None = None, **others: object
) -> Settings:
    """Settings on free ports, with nothing taken from this environment or a `.env`."""
    values: dict[str, object] = dict.fromkeys(("database_url", "redis_url", "public_url"))
    values |= {
        name: field.default for name, field in Settings.model_fields.items() if name not in values
    }
    values |= {
        "port": free_port(),
        "broker_port": free_port(),
        "notifier_home": home,
        "database_url": database_url,
        "extra_push_origins": push_origins,
        "log_level": "info",
    }
    return Settings(_env_file=None, **(values | others))  # type: ignore[arg-type]


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False

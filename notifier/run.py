"""Runs the Procfile on one machine: checks first, then every process until one signal ends all."""

import errno
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Timer

import honcho.manager
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

from notifier import editors
from notifier.config import Settings, environment_of
from notifier.db import Database
from notifier.errors import NotReady
from notifier.setup import prepare

PROCFILE = Path("Procfile")
BROKER = "broker"

# Workers finish the requests in flight (5 s at most), and record them, before they end.
honcho.manager.KILL_WAIT = 12

_STARTING = 0.1  # seconds after which to look again whether everything has started


class _Printer(Printer):  # type: ignore[misc]  # honcho has no types
    """Prints as long as anybody listens: honcho tells no process to stop before it has said so."""

    def write(self, message: Message) -> None:
        with suppress(OSError, ValueError):
            super().write(message)


class _Manager(Manager):  # type: ignore[misc]  # honcho has no types
    """Can be told to stop at any time: honcho fails before it has heard that all have started."""

    def terminate(self) -> None:
        for known in self._processes.values():
            wrapper = known.get("process")
            if "pid" not in known and wrapper is not None and wrapper.exitcode is not None:
                # Where it is not a fork, Ctrl-C ends it too while it is being set up.
                known |= {"pid": wrapper.pid, "returncode": wrapper.exitcode}
        if self._all_started():
            super().terminate()
        else:
            Timer(_STARTING, os.kill, (os.getpid(), signal.SIGTERM)).start()


def run(settings: Settings, procfile: Path = PROCFILE) -> int:
    """Prepare the deployment, run all its processes, and answer the exit code.

    Raises NotReady, with what to do, when something is in the way.
    """
    commands = commands_of(settings, procfile)
    for port, setting in ports_of(settings).items():
        _require_free(settings.bind if setting == "PORT" else "127.0.0.1", port, setting)
    prepare(settings)
    print(_banner(settings), flush=True)  # noqa: T201 - for the person at the terminal
    manager = _Manager(_Printer())
    for name, command in commands.items():
        manager.add_process(name, command, env=process_environment(settings))
    # A terminal that is closed must not leave anything running either.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    manager.loop()
    # Being told to stop is not a failure.
    return 0 if manager.returncode in (130, 143) else int(manager.returncode or 0)


def commands_of(settings: Settings, procfile: Path = PROCFILE) -> dict[str, str]:
    """The command of each process to start; the broker is not among them with a REDIS_URL."""
    if not procfile.exists():
        raise NotReady(f"There is no {procfile} here: start it from the project's folder.")
    processes: dict[str, str] = parse_procfile(procfile.read_text()).processes
    return {
        name: f"exec {command}"
        for name, command in processes.items()
        if not (name == BROKER and settings.redis_url)
    }


def process_environment(settings: Settings) -> dict[str, str]:
    """The environment of the processes: these settings, and this Python's programs first."""
    environment = environment_of(settings)
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]
    )
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def ports_of(settings: Settings) -> dict[int, str]:
    """The ports that will be listened on, each with the setting that chooses it."""
    ports = {settings.port: "PORT"}
    if not settings.redis_url:
        if settings.broker_port == settings.port:
            raise NotReady(f"PORT and BROKER_PORT are both {settings.port}: choose two.")
        ports[settings.broker_port] = "BROKER_PORT"
    return ports


def _require_free(address: str, port: int, setting: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise NotReady(
                    f"Port {port} is taken. Stop what listens there, or choose another: "
                    f"{setting}={port + 1} make run"
                ) from None
            raise NotReady(
                f"Cannot listen on {address}, port {port} ({setting}): {error.strerror}."
            ) from None


def _banner(settings: Settings) -> str:
    lines = [
        "",
        f"  {settings.publication_name}",
        f"  Readers:  {settings.base_url}/",
        f"  Editors:  {settings.base_url}/newsroom/",
    ]
    link = first_sign_in(settings)
    if link is not None:
        lines += [f"  First sign-in, for {settings.first_editor} (works once, for a day):"]
        lines += [f"            {link}"]
    lines += [f"  Warning:  {warning}" for warning in settings.warnings]
    return "\n".join([*lines, "  Ctrl-C stops everything.", ""])


def first_sign_in(settings: Settings) -> str | None:
    """A new one-time link for the first editor, as long as nobody has chosen a password."""
    db = Database(settings.database)
    try:
        with db.write() as session:
            if any(editor.password_hash for editor in editors.everyone(session)):
                return None
            return sign_in_link(settings, editors.invite(session, settings.first_editor))
    finally:
        db.close()


def sign_in_link(settings: Settings, token: str) -> str:
    """Where an editor uses a one-time token."""
    return f"{settings.base_url}/newsroom/welcome/{token}"

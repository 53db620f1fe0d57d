"""A throw-away PostgreSQL cluster for the tests, started on first use and removed at the end."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

INSTALL = "PostgreSQL is not installed: `apt-get install postgresql` or `brew install postgresql`"

_USER = "newsroom"
_STARTS_WITHIN = timedelta(seconds=60)
_ATTEMPTS = 3  # a port that was free may be taken in the instant before the server binds it
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "120",
    "max_wal_size": "1GB",
    "shared_buffers": "64MB",
    # Another zone than UTC, so that a time which loses its zone is noticed.
    "timezone": "Asia/Kathmandu",
}


class NotInstalledError(Exception):
    """There is no PostgreSQL on this machine."""


class Cluster:
    """A running server; each test makes a database of its own in it."""

    def __init__(
        self, port: int, password: str, launch: Callable[[], subprocess.Popen[bytes]]
    ) -> None:
        self._port = port
        self._password = password
        self._launch = launch
        self._server = launch()
        self._connection: psycopg.Connection | None = None

    @property
    def pid(self) -> int:
        """The process of the server, the parent of all others."""
        return self._server.pid

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new database, a copy of the template, for the time of the block."""
        name = f"test_{secrets.token_hex(6)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def create(self, name: str) -> str:
        """The URL of a new, empty database that lasts as long as the cluster."""
        self._run(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def connect(self) -> bool:
        """Open the connection that databases are made through; False when nobody answers."""
        try:
            self._connection = psycopg.connect(
                host="127.0.0.1",
                port=self._port,
                user=_USER,
                password=self._password,
                dbname="postgres",
                autocommit=True,
                connect_timeout=5,
            )
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> bool:
        """Start the server again if it has ended; False when it does not take connections."""
        if self._server.poll() is not None:
            self._server = self._launch()
        give_up_at = time.monotonic() + _STARTS_WITHIN.total_seconds()
        while self._server.poll() is None and time.monotonic() < give_up_at:
            if self.connect():
                return True
            time.sleep(0.05)
        return False

    def stop(self, *, at_once: bool = False) -> None:
        """End the server: in good order, or at once, so that it has to recover when started."""
        if self._connection is not None:
            self._connection.close()
        if self._server.poll() is None:
            # SIGQUIT ends it at once, SIGINT after the sessions have been ended.
            self._server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        try:
            self._server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def _run(self, statement: str) -> None:
        assert self._connection is not None
        self._connection.execute(statement)  # type: ignore[call-overload]


@contextmanager
def cluster(**settings: str) -> Iterator[Cluster]:
    """Start a server on 127.0.0.1 with a password that nobody knows; `settings` go before ours.

    Raises NotInstalledError. Files are kept in a folder of its own under the system's temporary
    one; as root the server runs as an unprivileged user, because PostgreSQL refuses root.
    """
    programs = _find_programs()
    folder = Path(tempfile.mkdtemp(prefix="notifier-postgresql-"))
    try:
        as_user = _unprivileged(folder)
        password = secrets.token_urlsafe(16)
        _init(programs, folder, password, as_user)
        for attempt in range(1, _ATTEMPTS + 1):
            started = _launched(programs, folder, password, as_user, settings)
            try:
                if started.start():
                    yield started
                    return
                if attempt == _ATTEMPTS:
                    raise RuntimeError(f"PostgreSQL does not start: {_log(folder).read_text()}")
            finally:
                started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _find_programs() -> Path:
    """The folder with `initdb` and `postgres`, the newest version first."""
    found = [
        *Path("/usr/lib/postgresql").glob("*/bin"),
        *Path("/opt/homebrew/opt").glob("postgresql*/bin"),
        *Path("/usr/local/opt").glob("postgresql*/bin"),
        *Path("/usr/pgsql-17").glob("bin"),
    ]
    found.sort(key=_version, reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        # Resolved, as `postgres` looks for its files beside the real program.
        found.insert(0, Path(on_path).resolve().parent)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NotInstalledError(INSTALL)


def _version(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits or 0)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """How a subprocess becomes the user that the server runs as, who then owns the folder."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NotInstalledError("PostgreSQL refuses root, and there is no user postgres or nobody")


def _init(programs: Path, folder: Path, password: str, as_user: dict[str, Any]) -> None:
    password_file = folder / "password"
    password_file.write_text(password)
    if as_user:
        os.chown(password_file, as_user["user"], as_user["group"])
    subprocess.run(
        [
            programs / "initdb",
            f"--pgdata={folder / 'data'}",
            f"--username={_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        **as_user,
    )


def _launched(
    programs: Path,
    folder: Path,
    password: str,
    as_user: dict[str, Any],
    settings: dict[str, str],
) -> Cluster:
    port = _free_port()
    options = _SETTINGS | settings | {"port": str(port), "unix_socket_directories": str(folder)}

    def launch() -> subprocess.Popen[bytes]:
        with _log(folder).open("ab") as log:
            return subprocess.Popen(
                [
                    programs / "postgres",
                    "-D",
                    folder / "data",
                    *(
                        part
                        for name, value in options.items()
                        for part in ("-c", f"{name}={value}")
                    ),
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
                **as_user,
            )

    return Cluster(port, password, launch)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log(folder: Path) -> Path:
    return folder / "log"

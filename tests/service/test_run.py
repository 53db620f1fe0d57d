"""`notifier run`, as a person at a terminal uses it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import requests

from notifier.rehearsal.deployment import free_port, wait_until

pytestmark = pytest.mark.service

PROJECT = Path(__file__).parents[2]
NOTIFIER = Path(sys.executable).with_name("notifier")
LONG = timedelta(seconds=60)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    ports = {"PORT": str(free_port()), "BROKER_PORT": str(free_port())}
    return os.environ | ports | {"NOTIFIER_HOME": str(tmp_path / "home")}


@contextmanager
def running(environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`notifier run` until its web app answers."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [NOTIFIER, "run"], cwd=PROJECT, env=environment, stdout=file, stderr=file
        )
    try:
        wait_until(
            lambda: config(environment) is not None or process.poll() is not None, LONG, "up"
        )
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def config(environment: dict[str, str]) -> dict[str, str] | None:
    """What the web app tells a page, or None when it does not answer."""
    try:
        url = f"http://localhost:{environment['PORT']}/api/v1/config"
        answer: dict[str, str] = requests.get(url, timeout=5).json()
    except requests.RequestException:
        return None
    return answer


def is_free(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) != 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_ends_everything_and_the_next_run_keeps_the_data(
    end: signal.Signals, environment: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with running(environment, output) as process:
        first = config(environment)
        text = output.read_text()
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(end)
        assert process.wait(30) == 0
    assert f"http://localhost:{environment['PORT']}/newsroom/welcome/" in text
    assert len(children) >= 4
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert is_free(environment["PORT"])
    assert is_free(environment["BROKER_PORT"])

    with running(environment, output):
        assert config(environment) == first  # the same VAPID key: readers stay subscribed


def test_ctrl_c_ends_everything_though_nobody_listens_to_what_is_printed(
    environment: dict[str, str],
) -> None:
    """As in `make run | tee log`, where tee ends first, and when a terminal has been closed."""
    process = subprocess.Popen(
        [NOTIFIER, "run"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        wait_until(lambda: config(environment) is not None, LONG, "up")
        children = psutil.Process(process.pid).children(recursive=True)
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    assert len(children) >= 4
    assert psutil.wait_procs(children, timeout=10)[1] == []


# The signal comes when the processes have been started, and honcho has heard of none of them. As
# from a terminal it reaches all that are not a session of their own.
INTERRUPTED = """
import multiprocessing, os, signal, sys
from notifier import run

class Interrupted(run._Manager):
    def _start(self):
        super()._start()
        os.killpg(0, signal.SIGINT)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    manager = Interrupted(run._Printer())
    manager.add_process("one", "exec sleep 60")
    manager.add_process("two", "exec sleep 60")
    manager.loop()
    print("ended")
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ctrl_c_right_after_the_start_ends_everything_too(method: str, tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    ended = subprocess.run(
        [sys.executable, script, method],
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("ended\n")


def test_a_taken_port_gets_one_line_that_says_what_to_do(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["PORT"]))):
        ended = subprocess.run(
            [NOTIFIER, "run"], cwd=PROJECT, env=environment, capture_output=True, text=True
        )
    assert ended.returncode == 1
    assert re.fullmatch(rf"Port {environment['PORT']} is taken.* PORT=\d+ make run\n", ended.stderr)
    assert ended.stdout == ""

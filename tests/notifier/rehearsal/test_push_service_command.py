"""The push service as a program of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService

COMMAND = [sys.executable, "-m", "notifier.rehearsal.push_service"]


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_cleanly(ending: signal.Signals) -> None:
    with running("--port", "0", "--port", "0", "--sample", "1") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(2)]
        assert [word for word, _ in lines] == ["ready", "ready"]
        first, second = (origin for _, origin in lines)
        with PushServiceControl(first) as control:
            list(control.add_readers(3))
            assert control.report()["readers"] == 3
        with PushServiceControl(second) as control:
            assert control.report()["readers"] == 0
        process.send_signal(ending)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
        with pytest.raises(requests.ConnectionError):
            requests.get(first, timeout=5)


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with PushService.in_thread() as service:
        ended = subprocess.run(
            [*COMMAND, "--port", str(service.port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1
    assert f"127.0.0.1:{service.port}" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_to_a_test_that_embeds_it() -> None:
    with (
        PushService.in_thread() as service,
        pytest.raises(OSError, match="in use"),
        PushService.in_thread(service.port),
    ):
        pass

"""Log lines."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from notifier.config import Settings
from notifier.log import configure


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str], log_format: str) -> str:
    configure(Settings(_env_file=None, log_format=log_format, log_level="info"))
    capability = "https://push.example/capability"
    structlog.get_logger("test").info("alert_released", alert=7)
    logging.getLogger("library").warning("told by %s", "a library")
    logging.getLogger("library").debug("not worth a line")
    try:
        raise RuntimeError(f"failed for {len(capability)} bytes")
    except RuntimeError:
        structlog.get_logger("test").exception("crashed")
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_json_lines_are_one_object_each(capsys: pytest.CaptureFixture[str]) -> None:
    released, library, crashed = map(json.loads, lines(capsys, "json").splitlines())

    assert released["event"] == "alert_released"
    assert released["alert"] == 7
    assert released["level"] == "info"
    assert released["timestamp"].endswith("Z")
    assert library["event"] == "told by a library"
    assert library["logger"] == "library"
    assert "RuntimeError: failed for" in crashed["exception"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_tracebacks_do_not_tell_what_variables_held(
    capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    printed = lines(capsys, log_format)

    assert "RuntimeError" in printed
    assert "push.example" not in printed.replace('capability = "https://push.example', "")
    assert "not worth a line" not in printed


def test_configuring_twice_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(_env_file=None))

    assert lines(capsys, "text").count("alert_released") == 1

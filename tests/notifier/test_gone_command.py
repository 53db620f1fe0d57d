"""`notifier gone`: what is said when nothing waits for a decision."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from notifier.cli import main
from notifier.config import Settings, get_settings
from notifier.setup import prepare


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_HOME", str(tmp_path))
    get_settings.cache_clear()
    prepare(Settings())


def test_a_list_of_nothing_says_so() -> None:
    result = CliRunner().invoke(main, ["gone", "list"])
    assert result.exit_code == 0
    assert "Nothing waits" in result.output


@pytest.mark.parametrize("decision", ["apply", "discard"])
def test_a_push_service_that_is_not_waiting_is_not_taken_for_decided(decision: str) -> None:
    result = CliRunner().invoke(main, ["gone", decision, "https://push.exmaple.com"])
    assert result.exit_code == 1
    assert "notifier gone list" in result.output

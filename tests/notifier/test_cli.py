"""The commands' own texts: nothing is cut, and whatever is wrong, one line says what to do."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from notifier.cli import main
from notifier.config import Settings, environment_of, get_settings


def invoke(*arguments: str) -> Result:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(main, arguments, terminal_width=80)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def commands(group: click.Group = main, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


@pytest.fixture
def prepared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    return settings


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """What commands say is the same with every database."""
    return sqlite_url


@pytest.mark.parametrize("command", [(), *commands()], ids=" ".join)
def test_help_is_whole_at_80_columns(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "..." not in result.output.replace("[ARGS]...", "")
    assert max(map(len, result.output.splitlines())) <= 80


def test_settings_are_shown_whole_at_80_columns(prepared: Settings) -> None:
    lines = invoke("settings").output.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line.replace("://…", "").replace("///…", "")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "--id", "7"], "use --file"),
        (["push", "--id", "0"], "not in the range"),
        (["push", "--id", "9" * 30], "not in the range"),
        (["token", "create", "--scope", "articles:write", "--name", " "], "1 to 80 characters"),
        (["token", "create", "--scope", "articles:write", "--name", "x" * 81], "1 to 80"),
        (["token", "revoke", "nope"], "notifier token list"),
        (["gone", "apply", "nope"], "notifier gone list"),
        (["editor", "invite", "nope"], "not an e-mail address"),
        (["editor", "remove", "nope@example.com"], "notifier editor list"),
        (["embed", "/nonexistent"], "Name the one that your site serves"),
        (["token", "revoke"], "Missing argument"),
        (["nonsense"], "No such command"),
    ],
)
def test_bad_input_is_answered_with_what_to_do(
    arguments: list[str], words: str, prepared: Settings
) -> None:
    result = invoke(*arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output


@pytest.mark.parametrize(
    "arguments",
    [["push", "--id", "1"], ["token", "list"], ["gone", "list"], ["editor", "invite", "a"]],
)
def test_before_the_setup_every_command_names_it_and_makes_nothing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_HOME", str(tmp_path))
    get_settings.cache_clear()
    result = invoke(*arguments)
    assert result.exit_code == 1
    assert "notifier setup" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        (
            "DATABASE_URL",
            "mysql://me:s3cret@host/x",
            "DATABASE_URL: write it as postgresql+psycopg",
        ),
        ("DATABASE_URL", "nonsense", "DATABASE_URL: write it as"),
        ("DATABASE_URL", "sqlite:////nowhere/at/all.sqlite3", "Look at DATABASE_URL"),
        ("NOTIFIER_HOME", "/dev/null/home", "See that this user may use it"),
        ("PORT", "many", "PORT: "),
    ],
)
def test_a_bad_setting_is_named(
    setting: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_HOME", str(tmp_path))
    monkeypatch.setenv(setting, value)
    get_settings.cache_clear()
    result = invoke("setup")
    assert result.exit_code == 1
    assert words in result.output
    assert "s3cret" not in result.output

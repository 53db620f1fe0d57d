"""`notifier push`: is it us, or the push service?"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from notifier.cli import main
from notifier.config import Settings, get_settings
from notifier.db import Database
from notifier.keys import ensure_vapid_key
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService
from notifier.setup import prepare


@pytest.fixture
def subscription(
    service: PushService,
    control: PushServiceControl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A file with the subscription of a reader, on a deployment that accepts their service."""
    monkeypatch.setenv("NOTIFIER_HOME", str(tmp_path))
    monkeypatch.setenv("EXTRA_PUSH_ORIGINS", service.origin)
    get_settings.cache_clear()
    settings = Settings()
    prepare(settings)
    db = Database(settings.database)
    key = ensure_vapid_key(db, settings.home).application_server_key
    db.close()
    [reader] = control.add_readers(1, vapid_public_key=key, keep=True)
    file = tmp_path / "subscription.json"
    file.write_text(json.dumps(reader))
    return file


def push(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, ["push", *arguments], input=text)


@pytest.mark.parametrize("way", ["fast", "pywebpush"])
def test_a_message_arrives_and_nothing_secret_is_shown(
    way: str, subscription: Path, control: PushServiceControl
) -> None:
    result = push("--file", str(subscription), "--with", way)
    reader = json.loads(subscription.read_text())
    assert result.exit_code == 0, result.output
    assert "201" in result.output
    assert '"aud":"http://127.0.0.1' in result.output.replace(" ", "")
    assert "Outcome: Accepted" in result.output
    token = reader["endpoint"].rpartition("/")[2]
    assert token not in result.output
    assert "eyJ" not in result.output  # how a signed token begins
    [message] = control.messages(reader["endpoint"])
    assert "This is a test" in message["data"]


@pytest.mark.parametrize("way", ["fast", "pywebpush"])
def test_what_the_push_service_says_is_shown(
    way: str, subscription: Path, control: PushServiceControl
) -> None:
    control.set_faults([{"status": 429, "share": 1, "retry_after": "17"}])
    result = push("--file", str(subscription), "--with", way)
    assert result.exit_code == 1
    assert "Retry-After: 17" in result.output
    assert "Outcome: Throttled" in result.output


def test_bad_input_says_what_to_do(subscription: Path) -> None:
    for arguments, text, words in (
        ((), None, "--id or by --file"),
        (("--id", "77"), None, "no subscription 77"),
        (("--file", "-"), "{}", "not a PushSubscription"),
        (("--file", "-"), "[[", "not a PushSubscription"),
        (
            ("--file", "-"),
            subscription.read_text().replace("http://127.0.0.1", "http://10.0.0.1"),
            "endpoint",
        ),
    ):
        result = push(*arguments, text=text)
        assert result.exit_code in (1, 2)
        assert words in result.output.lower() or words in result.output
        assert "Traceback" not in result.output

"""Secrets and VAPID keys in files."""

from pathlib import Path

import pytest
from together import together

from notifier import keys
from notifier.config import Settings
from notifier.db import Database
from notifier.errors import NotReady
from notifier.jobs import broker_url


def test_a_secret_is_made_once_even_if_many_ask_at_once(tmp_path: Path) -> None:
    keys.prepare_home(tmp_path / "home")

    found = together(8, lambda _: keys.secret(tmp_path / "home", "session"))

    assert len(set(found)) == 1
    assert len(found[0]) >= 43  # 256 bits
    assert keys.secret(tmp_path / "home", "log") != found[0]
    files = list((tmp_path / "home" / "secrets").iterdir())
    assert sorted(file.name for file in files) == ["log", "session"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_the_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    home.mkdir(parents=True)
    home.chmod(0o755)

    keys.prepare_home(home)

    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "secrets").stat().st_mode & 0o777 == 0o700


def test_the_newest_vapid_key_is_the_one_to_subscribe_with(
    db: Database, settings: Settings
) -> None:
    first = keys.ensure_vapid_key(db, settings.home)
    assert keys.ensure_vapid_key(db, settings.home) == first

    second = keys.add_vapid_key(db, settings.home)

    assert keys.ensure_vapid_key(db, settings.home) == second
    assert keys.load_vapid_keys(db, settings.home) == {first.id: first, second.id: second}


def test_a_key_that_is_missing_is_not_replaced(db: Database, settings: Settings) -> None:
    keys.ensure_vapid_key(db, settings.home)
    for file in (settings.home / "secrets").glob("vapid-*"):
        file.unlink()

    with pytest.raises(NotReady, match="backup"):
        keys.ensure_vapid_key(db, settings.home)


def test_the_broker_is_the_operators_or_ours(settings: Settings) -> None:
    own = broker_url(settings)
    assert own.startswith("redis://:")
    assert own.endswith(f"@127.0.0.1:{settings.broker_port}/0")
    assert keys.secret(settings.home, "broker") in own

    theirs = settings.model_copy(update={"redis_url": "redis://redis.internal/3"})
    assert broker_url(theirs) == "redis://redis.internal/3"

"""What all tests share: both databases, settings of their own, and no way to the internet."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import postgresql
import pytest
from argon2 import PasswordHasher

from notifier import editors
from notifier.config import Settings, get_settings
from notifier.db import Database
from notifier.setup import prepare

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let tests connect to this machine only."""
    config.option.allow_hosts = config.option.allow_hosts or "127.0.0.1,localhost,::1"
    config.option.allow_unix_socket = True


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the developer's environment and `.env` out of the tests."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(autouse=True)
def _passwords_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that is safe to keep takes a tenth of a second, and hundreds of tests sign in."""
    monkeypatch.setattr(editors, "_hasher", QUICK_HASHER)
    monkeypatch.setattr(editors, "_NOBODYS_HASH", QUICK_HASHER.hash("nobody's"))


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL server for the session; skips when there is none, and fails so in CI."""
    try:
        with postgresql.cluster() as cluster:
            yield cluster
    except postgresql.NotInstalledError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of a prepared deployment, whose keys both template databases know."""
    return tmp_path_factory.mktemp("template") / "home"


@pytest.fixture(scope="session")
def postgresql_template(postgresql_cluster: postgresql.Cluster, home_template: Path) -> str:
    """The name of a prepared deployment's database, to copy."""
    _prepare(home_template, postgresql_cluster.create("prepared"))
    return "prepared"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory, home_template: Path) -> Path:
    """A prepared deployment's database file, to copy."""
    path = tmp_path_factory.mktemp("template") / "prepared.sqlite3"
    _prepare(home_template, f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a SQLite database of this test's own; already prepared."""
    path = tmp_path / "notifier.sqlite3"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(
    postgresql_cluster: postgresql.Cluster, postgresql_template: str
) -> Iterator[str]:
    """The URL of a PostgreSQL database of this test's own; already prepared."""
    with postgresql_cluster.database(postgresql_template) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest) -> str:
    """Runs the test once on each kind of database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Like `database_url`, but there is nothing in the database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    cluster: postgresql.Cluster = request.getfixturevalue("postgresql_cluster")
    with cluster.database() as url:
        yield url


@pytest.fixture
def settings(home_template: Path, database_url: str, tmp_path: Path) -> Settings:
    """Settings of a deployment that has been prepared, by copies, as preparing takes its time."""
    home = tmp_path / "home"
    shutil.copytree(home_template, home)
    return Settings(_env_file=None, notifier_home=home, database_url=database_url)


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    """The database of a deployment that has been prepared."""
    db = Database(settings.database)
    yield db
    db.close()


def _prepare(home: Path, database_url: str) -> None:
    prepare(Settings(_env_file=None, notifier_home=home, database_url=database_url))

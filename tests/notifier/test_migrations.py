"""The schema: migrated from nothing it is what the models say, on both databases."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_steps import claimed, plan_all, work_off
from publication import Publication
from sqlalchemy import text
from together import together

from notifier.config import Settings
from notifier.db import Database
from notifier.errors import NotReady
from notifier.ledger import Ledger
from notifier.migrate import _config as migration_config
from notifier.migrate import migrate
from notifier.models import AlertKind, Base
from notifier.schema import REVISION, is_current
from notifier.setup import prepare, require

GROWING = [
    "alerts",
    "api_tokens",
    "batches",
    "editors",
    "stories",
    "subscriptions",
    "vapid_keys",
]


@pytest.fixture
def empty_db(empty_database_url: str) -> Iterator[Database]:
    db = Database(empty_database_url)
    yield db
    db.close()


def test_a_database_of_a_newer_version_is_left_alone_and_said_to_be_one(
    db: Database, settings: Settings
) -> None:
    with db.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for use in (lambda: require(db), lambda: prepare(settings)):
        with pytest.raises(NotReady, match="newer version"):
            use()


def test_migrating_an_empty_database_makes_what_the_models_say(empty_db: Database) -> None:
    db = empty_db
    assert not is_current(db)
    with pytest.raises(NotReady, match="notifier setup"):
        require(db)

    migrate(db)

    assert is_current(db)
    require(db)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    with db.engine.connect() as connection:
        constraints = {
            constraint.name
            for table in Base.metadata.tables.values()
            for constraint in table.constraints
        }
        if db.is_sqlite:
            schema = " ".join(
                connection.scalars(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
            )
            # SQLite's own notation of a growing primary key has no place for a name.
            assert {name for name in constraints if str(name) not in schema} == {
                f"pk_{table}" for table in GROWING
            }
        else:
            found = connection.scalars(text("SELECT conname FROM pg_constraint"))
            assert constraints <= set(found)


def test_the_newest_migration_is_what_is_expected(db: Database) -> None:
    with db.engine.connect() as connection:
        scripts = ScriptDirectory.from_config(migration_config(connection))
    assert scripts.get_current_head() == REVISION


def test_migrating_twice_changes_nothing(db: Database, publication: Publication) -> None:
    ids = publication.add_readers(2)

    migrate(db)

    assert is_current(db)
    assert publication.subscription(ids[0]) is not None


def test_on_sqlite_every_id_that_grows_is_never_given_twice(sqlite_url: str) -> None:
    """Alembic's batch_alter_table silently drops AUTOINCREMENT."""
    db = Database(sqlite_url)
    with db.engine.connect() as connection:
        for table in GROWING:
            query = text("SELECT sql FROM sqlite_master WHERE name = :name")
            assert "AUTOINCREMENT" in connection.execute(query, {"name": table}).scalar_one()
    db.close()


def test_preparing_can_be_repeated(db: Database, settings: Settings) -> None:
    secrets = {path: path.read_bytes() for path in (settings.home / "secrets").iterdir()}

    prepare(settings)

    assert {path: path.read_bytes() for path in (settings.home / "secrets").iterdir()} == secrets
    assert all(path.stat().st_mode & 0o077 == 0 for path in (settings.home, *secrets))


def test_sqlite_is_set_up_for_many_processes(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    with db.engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA synchronous")) == 2
    with db.write(durable=False) as session:
        assert session.scalar(text("PRAGMA synchronous")) == 1
    with db.write() as session:
        assert session.scalar(text("PRAGMA synchronous")) == 2
    db.close()


def test_readers_on_sqlite_do_not_wait_for_a_writer(sqlite_url: str) -> None:
    db = Database(sqlite_url)
    with db.write() as writer:
        writer.execute(text("UPDATE sections SET name = name"))
        assert together(1, lambda _: _count_sections(db)) == [5]
    db.close()


def _count_sections(db: Database) -> int:
    with db.read() as session:
        return int(session.scalar(text("SELECT count(*) FROM sections")))


@pytest.mark.postgresql
def test_on_postgresql_only_checkpoints_commit_asynchronously(postgresql_url: str) -> None:
    db = Database(postgresql_url)
    with db.write(durable=False) as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "off"
    with db.write() as session:
        assert session.scalar(text("SHOW synchronous_commit")) == "on"
    db.close()


def test_what_an_earlier_version_has_sent_can_be_corrected(
    db: Database, publication: Publication, ledger: Ledger
) -> None:
    ids = publication.add_readers(5)
    alert = publication.release()
    plan_all(ledger)
    for lease in [claimed(ledger), claimed(ledger)]:
        work_off(ledger, lease)
    with db.without_foreign_keys() as connection:
        command.downgrade(migration_config(connection), "0002")

    migrate(db)

    correction = publication.release(story_id=alert.story_id, kind=AlertKind.CORRECTION)
    plan_all(ledger)
    assert publication.planned_ids(correction.id) == ids[::-1]

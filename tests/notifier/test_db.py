"""What the database is asked, and how it goes about it."""

from datetime import timedelta

import pytest
from publication import Publication
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from notifier import db as db_module
from notifier.clock import boot_time
from notifier.db import Database, is_one_of, now_of
from notifier.models import Subscription

on_postgresql = pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)


def test_rows_are_found_by_their_ids(db: Database, publication: Publication) -> None:
    ids = publication.add_readers(5)
    with db.read() as session:
        for wanted in ([ids[0], ids[3]], ids, []):
            found = select(Subscription.id).where(is_one_of(session, Subscription.id, wanted))
            assert sorted(session.scalars(found)) == wanted


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_sqlite_knows_of_a_small_table_does_not_have_it_read_a_large_one(
    db: Database, publication: Publication
) -> None:
    ids = publication.add_readers(1000)
    with db.write() as session:
        session.execute(text("ANALYZE"))
    db.engine.dispose()  # it is looked at when a connection is made

    with db.read() as session:
        wanted = select(Subscription.endpoint).where(is_one_of(session, Subscription.id, ids))
        query = wanted.compile(db.engine)
        steps = session.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {query}", tuple(query.params.values())
        )
        plan = [step.detail for step in steps]

    assert "SEARCH subscriptions USING INTEGER PRIMARY KEY (rowid=?)" in plan


@on_postgresql
def test_a_connection_that_has_died_while_it_idled_is_replaced(
    db: Database, other_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang_up(db, other_db)
    later = boot_time() + 2
    monkeypatch.setattr(db_module, "boot_time", lambda: later)

    with db.read() as session:
        assert session.scalars(select(1)).one() == 1


@on_postgresql
def test_one_that_was_used_a_moment_ago_is_not_tried_before(
    db: Database, other_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would be another round trip in front of every transaction."""
    now = boot_time()
    monkeypatch.setattr(db_module, "boot_time", lambda: now)
    hang_up(db, other_db)

    with pytest.raises(OperationalError), db.read() as session:
        session.scalars(select(1)).one()
    with db.read() as session:
        assert session.scalars(select(1)).one() == 1


@on_postgresql
def test_the_server_is_asked_for_its_time_once_a_second(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = statements(db)
    booted_for = 100.0
    monkeypatch.setattr(db_module, "boot_time", lambda: booted_for)
    with db.read() as session:
        first = now_of(session)
        booted_for += 0.9
        assert now_of(session) - first == timedelta(seconds=0.9)
        assert len(asked) == 1

        booted_for += 60
        assert now_of(session) - first < timedelta(seconds=30), (
            "it is the server's time that counts"
        )
        assert len(asked) == 2


@on_postgresql
def test_a_time_that_was_long_on_its_way_is_not_carried_on(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be ahead of the server's by as much."""
    asked = statements(db)
    with db.read() as session:
        session.connection()
        booted_for = iter([100.0, 100.2, 100.3, 100.35, 100.4])  # before and after the questions
        monkeypatch.setattr(db_module, "boot_time", lambda: next(booted_for))
        for questions in (1, 2, 2):
            now_of(session)
            assert len(asked) == questions
        monkeypatch.undo()


def statements(db: Database) -> list[str]:
    """What the database is asked from now on."""
    asked: list[str] = []
    event.listen(
        db.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, *_: asked.append(statement),
    )
    return asked


def hang_up(db: Database, other_db: Database) -> None:
    """Have the server end the connection that a database's next transaction would use."""
    with db.read() as session:
        backend = session.scalars(text("SELECT pg_backend_pid()")).one()
    with other_db.read() as session:
        assert session.scalars(text(f"SELECT pg_terminate_backend({backend}, 5000)")).one()

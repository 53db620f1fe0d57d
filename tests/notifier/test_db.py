"""What the database is asked, and how it goes about it."""

import pytest
from publication import Publication
from sqlalchemy import select, text

from notifier.db import Database, is_one_of
from notifier.models import Subscription


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

"""Who gets an alert: level, pause and muted stories; sections are in test_sections."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from publication import Publication
from sqlalchemy import event, text

from notifier import audience, sections
from notifier.audience import Audience
from notifier.db import Database, now_of
from notifier.ledger import Ledger
from notifier.models import Alert, AlertKind, Level, MutedStory, Subscription


def change(db: Database, row_id: int, **values: Any) -> None:
    with db.write() as session:
        row = session.get_one(Subscription, row_id)
        for name, value in values.items():
            setattr(row, name, value)


def planned_for(publication: Publication, alert: Alert) -> Sequence[int]:
    ledger = Ledger(publication.db)
    while ledger.plan():
        pass
    return sorted(publication.planned_ids(alert.id))


@pytest.mark.parametrize(
    ("of_alert", "wanted_by"),
    [
        (Level.BIGGEST, [Level.BIGGEST, Level.BREAKING, Level.UPDATES]),
        (Level.BREAKING, [Level.BREAKING, Level.UPDATES]),
        (Level.UPDATES, [Level.UPDATES]),
    ],
)
def test_an_alert_goes_to_those_who_want_as_much(
    publication: Publication, of_alert: Level, wanted_by: list[Level]
) -> None:
    readers = dict(zip(Level, publication.add_readers(3), strict=True))
    for level, row_id in readers.items():
        change(publication.db, row_id, level=level)

    alert = publication.release(level=of_alert)

    expected = sorted(readers[level] for level in wanted_by)
    assert planned_for(publication, alert) == expected
    with publication.db.read() as session:
        assert audience.size(session, Audience.of(alert)) == len(expected)


def test_nothing_is_planned_for_who_has_paused(publication: Publication) -> None:
    there, paused, back = publication.add_readers(3)
    with publication.db.read() as session:
        now = now_of(session)
    change(publication.db, paused, paused_until=now + timedelta(days=1))
    change(publication.db, back, paused_until=now)

    assert planned_for(publication, publication.release()) == [there, back]


def test_a_muted_story_does_not_come_back_but_others_come(publication: Publication) -> None:
    there, muting = publication.add_readers(2)
    first = publication.release()
    assert planned_for(publication, first) == [there, muting]
    with publication.db.write() as session:
        session.add(MutedStory(subscription_id=muting, story_id=first.story_id))

    update = publication.release(kind=AlertKind.UPDATE, story_id=first.story_id)
    other = publication.release()

    assert planned_for(publication, update) == [there]
    with publication.db.read() as session:
        assert audience.size(session, Audience.of(update)) == 1
    assert planned_for(publication, other) == [there, muting]


def test_who_chose_only_what_has_been_withdrawn_gets_nothing_else(
    db: Database, publication: Publication
) -> None:
    (everything,) = publication.add_readers(1)
    publication.add_readers(1, sections=["sport"])
    with db.write() as session:
        sections.sync(session, ["World"])
        world = sections.choice_bits(session, ["world"])

    assert planned_for(publication, publication.release(section_bits=world)) == [everything]


def test_a_step_of_planning_goes_by_the_primary_key(db: Database, publication: Publication) -> None:
    """However many subscriptions there are, a step reads only those that it looks at."""
    publication.add_readers(3)
    asked: list[tuple[str, Any]] = []
    listen = (db.engine, "before_cursor_execute")

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(*listen, note)
    try:
        with db.read() as session:
            whole = Audience(section_bits=5, level=Level.UPDATES, story_id=7)
            for one in (whole, replace(whole, story_id=None)):
                audience.ids_below(session, one, below=10**9, limit=10_000)
    finally:
        event.remove(*listen, note)

    asked = [(statement, given) for statement, given in asked if "FROM subscriptions" in statement]
    assert len(asked) == 2
    with db.read() as session:
        explain = "EXPLAIN QUERY PLAN " if db.is_sqlite else "EXPLAIN "
        if not db.is_sqlite:  # with so few rows it would rather read them all
            session.execute(text("SET LOCAL enable_seqscan = off"))
            session.execute(text("SET LOCAL enable_sort = off"))
            session.execute(text("SET LOCAL enable_hashjoin = off"))
            session.execute(text("SET LOCAL enable_mergejoin = off"))
        for statement, given in asked:
            rows = session.connection().exec_driver_sql(explain + statement, given)
            plan = "\n".join(str(row[-1]) for row in rows)
            assert "Seq Scan" not in plan
            assert "SCAN" not in plan
            assert "SORT" not in plan.upper()
            assert "PRIMARY KEY" in plan or "Backward using pk_subscriptions" in plan

"""Which schema this version of the program expects, and whether a database has it."""

from sqlalchemy import inspect, text

from notifier.db import Database

REVISION = "0005"
"""The newest migration. Said here, so that workers need not load alembic to compare."""


def is_current(db: Database) -> bool:
    """Whether the database has the schema that this version of the program expects."""
    with db.engine.execution_options(writes=False).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        present = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
        return present == [REVISION]

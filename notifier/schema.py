"""Which schema this version of the program expects, and whether a database has it."""

from sqlalchemy import inspect, text

from notifier.db import Database
from notifier.errors import NotReady

REVISION = "0005"
"""The newest migration. Said here, so that workers need not load alembic to compare."""


def is_current(db: Database) -> bool:
    """Whether the database has the schema that this version of the program expects."""
    return _present(db) == REVISION


def refuse_newer(db: Database) -> None:
    """Raises NotReady when the database has been prepared by a newer version of the program."""
    present = _present(db)
    if present is not None and present > REVISION:
        raise NotReady(
            f"The database has been prepared by a newer version (schema {present}; this one knows "
            f"{REVISION}). Start the newer version, or restore the backup made before it."
        )


def _present(db: Database) -> str | None:
    """The newest migration that the database has; None when it is not ours yet."""
    with db.engine.execution_options(writes=False).connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.scalars(text("SELECT version_num FROM alembic_version")).one_or_none()

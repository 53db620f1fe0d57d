"""Brings a database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from notifier.db import Database

_ANY_LOCK_NUMBER = 7_235_881_204


def migrate(db: Database) -> None:
    """Apply the migrations that are missing; several processes may do so at once."""
    with db.without_foreign_keys() as connection:
        if not db.is_sqlite:
            connection.execute(
                text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ANY_LOCK_NUMBER}
            )
        command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config

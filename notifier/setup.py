"""Makes a deployment ready to start: home folder, secrets, schema, sections, VAPID key."""

from pathlib import Path

from notifier import keys, sections
from notifier.config import Settings
from notifier.db import Database
from notifier.errors import NotReady
from notifier.schema import is_current


def prepare(settings: Settings) -> None:
    """Make what is missing and keep what is there; safe to repeat."""
    from notifier.migrate import migrate  # alembic is large, and workers only call `require`

    keys.prepare_home(settings.home)
    for name in ("session", "log", "broker"):
        keys.secret(settings.home, name)
    db = Database(settings.database)
    try:
        migrate(db)
        with db.write() as session:
            sections.sync(session, settings.sections)
        keys.ensure_vapid_key(db, settings.home)
    finally:
        db.close()


def require(db: Database) -> None:
    """Raises NotReady when the database has not been prepared for this version."""
    file = db.engine.url.database if db.is_sqlite else None
    if (file and not Path(file).exists()) or not is_current(db):
        raise NotReady("The database is not up to date. Run `notifier setup` first.")

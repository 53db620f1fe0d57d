"""Makes a deployment ready to start: home folder, secrets, schema, sections, VAPID key."""

from pathlib import Path

from notifier import keys, sections
from notifier.config import Settings
from notifier.db import Database
from notifier.errors import NotReady
from notifier.schema import is_current, refuse_newer

_NOT_SET_UP = "The database is not up to date. Run `notifier setup` first."


def prepare(settings: Settings) -> None:
    """Make what is missing and keep what is there; safe to repeat."""
    from notifier.migrate import migrate  # alembic is large, and workers only call `require`

    keys.prepare_home(settings.home)
    for name in ("session", "broker"):
        keys.secret(settings.home, name)
    db = Database(settings.database)
    try:
        refuse_newer(db)
        migrate(db)
        # First, so that a home which does not belong to the database leaves its sections alone.
        keys.ensure_vapid_key(db, settings.home)
        with db.write() as session:
            sections.sync(session, settings.sections)
    finally:
        db.close()


def require(db: Database) -> None:
    """Raises NotReady when the database has not been prepared for this version."""
    file = db.engine.url.database if db.is_sqlite else None
    if file and not Path(file).exists():
        raise NotReady(_NOT_SET_UP)
    refuse_newer(db)
    if not is_current(db):
        raise NotReady(_NOT_SET_UP)

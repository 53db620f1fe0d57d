"""What the commands share: a transaction, and errors in one line that says what to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from notifier.config import get_settings
from notifier.db import Database
from notifier.errors import NotifierError
from notifier.setup import require


@contextmanager
def database() -> Iterator[Database]:
    """The database, which must have been set up."""
    db = Database(get_settings().database)
    try:
        require(db)
        yield db
    finally:
        db.close()


@contextmanager
def transaction() -> Iterator[Session]:
    """A writing transaction on the database."""
    with database() as db, db.write() as session:
        yield session


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a person can mend into one line and exit code 1."""
    try:
        yield
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            name = "_".join(map(str, problem["loc"])).upper()
            click.echo(f"{name}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        sys.exit(1)
    except NotifierError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"{where}{error.strerror or error}. See that this user may use it.", err=True)
        sys.exit(1)
    except SQLAlchemyError as error:
        # The driver's own words may hold addresses and values; its first line says enough.
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        click.echo(
            f"The database cannot be used: {reason.rstrip('.')}. Look at DATABASE_URL, and whether "
            "the server runs.",
            err=True,
        )
        sys.exit(1)

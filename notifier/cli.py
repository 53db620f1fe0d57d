"""The `notifier` command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from notifier import editors, tokens
from notifier import run as run_
from notifier import setup as setup_
from notifier.config import Settings, get_settings
from notifier.db import Database
from notifier.errors import NotifierError
from notifier.rehearsal.command import rehearse
from notifier.tokens import Scope


@click.group()
def main() -> None:
    """Breaking-news alerts for a newsroom's readers, by Web Push."""


@main.command()
def run() -> None:
    """Set up what is missing, and run the whole service until Ctrl-C."""
    with plain_errors():
        sys.exit(run_.run(get_settings()))


@main.command()
def setup() -> None:
    """Make secrets, keys and the database, or bring them up to date; safe to repeat."""
    with plain_errors():
        settings = get_settings()
        setup_.prepare(settings)
        for warning in settings.warnings:
            click.echo(f"Warning: {warning}", err=True)
        click.echo(f"Ready. Home folder: {settings.home}", err=True)


@main.group()
def token() -> None:
    """Credentials of machines, such as the CMS."""


@token.command("create")
@click.option(
    "--scope", type=click.Choice([scope.value for scope in Scope]), required=True,
    help="What the token lets its holder do.",
)  # fmt: skip
@click.option("--name", default="cms", show_default=True, help="To tell tokens apart.")
def create_token(scope: str, name: str) -> None:
    """Print a new token, alone, on standard output. It cannot be shown again."""
    with plain_errors(), database() as session:
        created = tokens.create(session, Scope(scope), name)
    click.echo(created)


@token.command("list")
def list_tokens() -> None:
    """Show the tokens that are in force, without the secrets."""
    table = Table("name", "scope", "made", "last used")
    with plain_errors(), database() as session:
        for row in tokens.active(session):
            used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
            table.add_row(row.name, row.scope, f"{row.created_at:%Y-%m-%d %H:%M}", used)
    Console().print(table)


@token.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Make the token called NAME useless at once."""
    with plain_errors(), database() as session:
        tokens.revoke(session, name)
    click.echo(f"Revoked {name}.", err=True)


@main.group()
def editor() -> None:
    """People of the newsroom."""


@editor.command()
@click.argument("email")
def invite(email: str) -> None:
    """Print a link that signs EMAIL in once, to choose a (new) password."""
    with plain_errors(), database() as session:
        link = run_.sign_in_link(get_settings(), editors.invite(session, email))
    click.echo(link)


@main.command("settings")
def show_settings() -> None:
    """Show every setting, its meaning and its value here."""
    table = Table("setting", "value", "meaning")
    with plain_errors():
        settings = get_settings()
        for name, field in Settings.model_fields.items():
            value = getattr(settings, name)
            shown = ", ".join(value) if isinstance(value, tuple) else str(value or "")
            table.add_row(name.upper(), _without_password(shown), field.description)
    Console().print(table)


main.add_command(rehearse)


@contextmanager
def database() -> Iterator[Session]:
    """A writing transaction on a database that has been set up."""
    db = Database(get_settings().database)
    try:
        setup_.require(db)
        with db.write() as session:
            yield session
    finally:
        db.close()


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
    except SQLAlchemyError as error:
        # The driver's own words may hold addresses and values; its first line says enough.
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        click.echo(f"The database cannot be used (DATABASE_URL): {reason}", err=True)
        sys.exit(1)


def _without_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or "@" not in rest:
        return text
    return f"{scheme}://…@{rest.rpartition('@')[2]}"

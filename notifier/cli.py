"""The `notifier` command."""

import sys

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from notifier import editors, push_services, tokens
from notifier import run as run_
from notifier import setup as setup_
from notifier.config import Settings, get_settings
from notifier.doctor.command import doctor
from notifier.embed import embed_command
from notifier.errors import NotFound
from notifier.push_command import push
from notifier.rehearsal.command import rehearse
from notifier.terminal import database, plain_errors, transaction
from notifier.tokens import Scope

_LONGEST_NAME = 80


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
    """Make secrets, keys and database, or bring them up to date."""
    with plain_errors():
        settings = get_settings()
        setup_.prepare(settings)
        for warning in settings.warnings:
            click.echo(f"Warning: {warning}", err=True)
        click.echo(f"Ready. Home folder: {settings.home}", err=True)


@main.group()
def token() -> None:
    """Credentials of machines, such as the CMS."""


def _check_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if not 0 < len(name.strip()) <= _LONGEST_NAME:
        raise click.BadParameter(f"Give it 1 to {_LONGEST_NAME} characters, such as cms.")
    return name.strip()


@token.command("create")
@click.option(
    "--scope", type=click.Choice([scope.value for scope in Scope]), required=True,
    help="What the token lets its holder do.",
)  # fmt: skip
@click.option(
    "--name", default="cms", show_default=True, callback=_check_name, help="To tell tokens apart."
)
def create_token(scope: str, name: str) -> None:
    """Print a new token, alone, on standard output. It cannot be shown again."""
    with plain_errors(), transaction() as session:
        created = tokens.create(session, Scope(scope), name)
    click.echo(created)


@token.command("list")
def list_tokens() -> None:
    """Show the tokens that are in force, without the secrets."""
    table = Table("name", "scope", "made", "last used")
    with plain_errors(), transaction() as session:
        for row in tokens.active(session):
            used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
            table.add_row(row.name, row.scope, f"{row.created_at:%Y-%m-%d %H:%M}", used)
    Console().print(table)


@token.command("revoke")
@click.argument("name")
def revoke_token(name: str) -> None:
    """Make the token called NAME useless at once."""
    with plain_errors(), transaction() as session:
        tokens.revoke(session, name)
    click.echo(f"Revoked {name}.", err=True)


@main.group()
def editor() -> None:
    """People of the newsroom."""


@editor.command()
@click.argument("email")
def invite(email: str) -> None:
    """Print a link that signs EMAIL in once, to choose a (new) password."""
    with plain_errors(), transaction() as session:
        link = run_.sign_in_link(get_settings(), editors.invite(session, email))
    click.echo(link)


@editor.command("list")
def list_editors() -> None:
    """Show who may come into the newsroom."""
    table = Table("editor", "invited", "password")
    with plain_errors(), transaction() as session:
        for row in editors.everyone(session):
            chosen = "chosen" if row.password_hash else "not yet"
            table.add_row(row.email, f"{row.created_at:%Y-%m-%d %H:%M}", chosen)
    Console().print(table if table.row_count else "There is nobody yet.")


@editor.command("remove")
@click.argument("email")
def remove_editor(email: str) -> None:
    """Take EMAIL's access to the newsroom away, at once."""
    with plain_errors(), transaction() as session:
        editors.remove(session, email)
    click.echo(f"Removed {email}.", err=True)


@main.group()
def gone() -> None:
    """Decide on subscriptions that are doubtfully called gone.

    A push service answered Gone for so many at once that it may be mistaken.
    """


@gone.command("list")
def list_gone() -> None:
    """Show what waits for your decision."""
    table = Table("push service", "alert", "subscriptions")
    with plain_errors(), transaction() as session:
        for push_service, alert_id, count in push_services.doubtful(session):
            table.add_row(push_service, str(alert_id), f"{count:,}")
    Console().print(table if table.row_count else "Nothing waits for your decision.")


@gone.command("apply")
@click.argument("push_service")
def apply_gone(push_service: str) -> None:
    """Believe PUSH_SERVICE: deactivate these subscriptions."""
    with plain_errors(), database() as db:
        with db.read() as session:
            _check_doubtful(session, push_service)
        count = push_services.apply_doubtful(db, push_service)
    click.echo(f"Deactivated {count:,}.", err=True)


@gone.command("discard")
@click.argument("push_service")
def discard_gone(push_service: str) -> None:
    """Do not believe PUSH_SERVICE: keep these subscriptions."""
    with plain_errors(), transaction() as session:
        _check_doubtful(session, push_service)
        count = push_services.discard_doubtful(session, push_service)
    click.echo(f"Kept {count:,}.", err=True)


@main.command("settings")
def show_settings() -> None:
    """Show every setting, its meaning and its value here."""
    table = Table("setting")
    for heading in ("value", "meaning"):
        table.add_column(heading, overflow="fold")  # an address is to be read to its end
    with plain_errors():
        settings = get_settings()
        for name, field in Settings.model_fields.items():
            value = getattr(settings, name)
            shown = ", ".join(value) if isinstance(value, tuple) else str(value or "")
            table.add_row(name.upper(), _without_password(shown), field.description)
    Console().print(table)


main.add_command(doctor)
main.add_command(embed_command)
main.add_command(push)
main.add_command(rehearse)


def _check_doubtful(session: Session, push_service: str) -> None:
    """Raise NotFound when nothing of this push service waits for a decision."""
    if push_service not in (name for name, _, _ in push_services.doubtful(session)):
        raise NotFound(
            f"Nothing of {push_service!r} waits for your decision: `notifier gone list` shows "
            "what does."
        )


def _without_password(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or "@" not in rest:
        return text
    return f"{scheme}://…@{rest.rpartition('@')[2]}"

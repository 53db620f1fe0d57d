"""`notifier doctor`: the findings, in words, and an exit code."""

import sys

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from notifier.config import get_settings
from notifier.doctor.deployment import examine_deployment
from notifier.doctor.fetching import is_http_address, origin_of
from notifier.doctor.finding import Finding, State
from notifier.doctor.site import examine_site
from notifier.errors import InvalidInput
from notifier.terminal import plain_errors

_MARKS = {
    State.THERE: "[green]✓ there[/green]",
    State.MISSING: "[bold red]✗ missing[/bold red]",
    State.TROUBLE: "[bold red]✗ trouble[/bold red]",
    State.UNSEEN: "[yellow]? look[/yellow]",
}


@click.command()
@click.option("--site", metavar="URL", help="A page of yours that is to ask readers.")
@click.option(
    "--service", metavar="URL",
    help="With --site: another deployment's public address. This one is then not examined.",
)  # fmt: skip
def doctor(site: str | None, service: str | None) -> None:
    """Say what is missing or in trouble, and what to do about it.

    Examines this deployment: settings, database, broker, whether workers and clock are alive, what
    waits, and which push services make trouble. With --site also the page and files of your site
    as a browser finds them. Changes nothing. Exit code 1 if something is missing or in trouble.
    """
    if service is not None and site is None:
        raise click.UsageError("--service needs --site.")
    findings: list[Finding] = []
    with plain_errors():
        if service is not None and not is_http_address(service):
            raise InvalidInput(
                f"{service!r} is not the address of a service, such as https://alerts.example.com"
            )
        if service is None:
            settings = get_settings()
            service = settings.base_url
            findings += examine_deployment(settings)
        if site is not None:
            findings += examine_site(site, origin_of(service))
    table = Table("", "what", "found", show_lines=True)
    for finding in findings:
        found = escape(finding.text)
        if finding.todo:
            found += f"\n[bold]→ {escape(finding.todo)}[/bold]"
        table.add_row(_MARKS[finding.state], escape(finding.subject), found)
    console = Console()
    console.print(table)
    states = [finding.state for finding in findings]
    missing, troubled = states.count(State.MISSING), states.count(State.TROUBLE)
    verdict = [f"{missing} missing"] if missing else []
    verdict += [f"{troubled} in trouble"] if troubled else []
    console.print(f"{', '.join(verdict) or 'Nothing is missing'}.")
    sys.exit(1 if verdict else 0)

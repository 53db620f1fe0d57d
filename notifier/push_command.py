"""`notifier push`: one test message to one subscription, with request and answer."""

import json
import sys
from datetime import timedelta
from typing import TextIO

import click
from sqlalchemy.orm import Session

from notifier.config import Settings, get_settings
from notifier.db import Database
from notifier.endpoints import EndpointPolicy, check_auth, check_p256dh, decode_key
from notifier.errors import InvalidInput, NotFound
from notifier.keys import load_vapid_keys
from notifier.models import Subscription
from notifier.push import Accepted, Target, VapidKey, VapidSigner
from notifier.push.single import Transcript, sample_plaintext, send_fast, send_with_pywebpush
from notifier.setup import require
from notifier.terminal import plain_errors, transaction

TTL = timedelta(minutes=5)
_LARGEST_ID = 2**63 - 1


@click.command()
@click.option(
    "--id", "subscription_id", type=click.IntRange(1, _LARGEST_ID), metavar="ID",
    help="A subscription of the database.",
)  # fmt: skip
@click.option(
    "--file", "file", type=click.File(), help="A browser's PushSubscription as JSON; - is stdin."
)
@click.option(
    "--with", "way", type=click.Choice(["fast", "pywebpush"]), default="fast", show_default=True,
    help="The way that alerts go, or the reference implementation.",
)  # fmt: skip
def push(subscription_id: int | None, file: TextIO | None, way: str) -> None:
    """Send one test message, and show request and answer.

    Tells whether it is us or the push service. The endpoint's path and the token's signature,
    which are secrets, are not shown. Exit code 1 if the message was not accepted.
    """
    if (subscription_id is None) == (file is None):
        raise click.UsageError("Name one subscription, by --id or by --file.")
    with plain_errors():
        settings = get_settings()
        keys = _keys(settings)
        if file is not None:
            target = _target_of(file.read(), max(keys))
        else:
            with transaction() as session:
                target = _target(session, subscription_id or 0)
        transcript = _send(settings, keys, target, reference=way == "pywebpush")
    _show(transcript)
    sys.exit(0 if isinstance(transcript.outcome, Accepted) else 1)


def _keys(settings: Settings) -> dict[int, VapidKey]:
    db = Database(settings.database)
    try:
        require(db)
        keys = load_vapid_keys(db, settings.home)
    finally:
        db.close()
    if not keys:
        raise NotFound("There is no VAPID key yet. Run `notifier setup` first.")
    return keys


def _target(session: Session, subscription_id: int) -> Target:
    row = session.get(Subscription, subscription_id)
    if row is None:
        raise NotFound(
            f"There is no subscription {subscription_id}. To send to a browser that has none here, "
            "use --file."
        )
    return Target(row.endpoint, row.p256dh, row.auth, row.vapid_key_id)


def _target_of(text: str, key_id: int) -> Target:
    try:
        subscription = json.loads(text)
        endpoint, keys = subscription["endpoint"], subscription["keys"]
        p256dh, auth = keys["p256dh"], keys["auth"]
    except (ValueError, TypeError, KeyError):
        raise InvalidInput(
            'That is not a PushSubscription: {"endpoint": …, "keys": {"p256dh": …, "auth": …}}.'
        ) from None
    return Target(
        str(endpoint),
        check_p256dh(decode_key(str(p256dh), "p256dh")),
        check_auth(decode_key(str(auth), "auth")),
        key_id,
    )


def _send(
    settings: Settings, keys: dict[int, VapidKey], target: Target, *, reference: bool
) -> Transcript:
    policy = EndpointPolicy(settings.extra_push_origins)
    plaintext = sample_plaintext(settings.publication_name, settings.base_url)
    if reference:
        key = keys[target.vapid_key_id]
        return send_with_pywebpush(target, plaintext, key, settings.vapid_subject, policy, ttl=TTL)
    return send_fast(
        target,
        plaintext,
        VapidSigner(keys, settings.vapid_subject),
        policy,
        ttl=TTL,
        connect_to=settings.push_connect_to,
        ca_file=settings.ca_file,
    )


def _show(transcript: Transcript) -> None:
    # How the connection was made matters only when nothing came of it.
    connection = [] if transcript.answer else transcript.connection
    parts = {
        "Connection": connection,
        "Request": transcript.request,
        "Answer": transcript.answer,
        "Text": [transcript.text],
    }
    for title, lines in parts.items():
        if any(lines):
            click.secho(title, bold=True)
            click.echo("\n".join(f"  {line}" for line in lines))
    click.secho(f"Outcome: {transcript.outcome}", bold=True)

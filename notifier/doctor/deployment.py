"""Examines this deployment itself: settings, broker, database, keys, and what is going on."""

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import SQLAlchemyError

from notifier.config import PLACEHOLDER_SUBJECT, SAMPLE_NAME, Settings
from notifier.db import Database
from notifier.doctor.finding import Finding, missing, there, unseen
from notifier.doctor.running import examine_running
from notifier.errors import NotifierError
from notifier.jobs import broker_url
from notifier.keys import load_vapid_keys
from notifier.setup import require

TIMEOUT = timedelta(seconds=5)
_REDIS_PORT = 6379


def examine_deployment(settings: Settings) -> Iterator[Finding]:
    """What stands between these settings and readers who get their alerts."""
    yield from _settings(settings)
    yield _broker(settings)
    yield from _database(settings)


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.base_url.startswith("https://"):
        yield there("PUBLIC_URL", settings.base_url)
    else:
        yield missing(
            "PUBLIC_URL",
            f"{settings.base_url} reaches nobody outside.",
            "Set it to the https address of this service.",
        )
    if settings.publication_name == SAMPLE_NAME:
        yield missing(
            "PUBLICATION_NAME",
            f"Readers are asked by “{SAMPLE_NAME}”, which is a sample.",
            "Set it to your publication's name; look at SECTIONS and PUBLICATION_LANGUAGE, too.",
        )
    else:
        yield there("PUBLICATION_NAME", settings.publication_name)
    if settings.vapid_subject == PLACEHOLDER_SUBJECT:
        yield missing(
            "VAPID_SUBJECT",
            "It is a placeholder.",
            "Set it to an address that your newsroom reads: push services write there when "
            "something is wrong.",
        )
    else:
        yield there("VAPID_SUBJECT", settings.vapid_subject)
    if settings.allowed_origins:
        yield there("ALLOWED_ORIGINS", ", ".join(settings.allowed_origins))
    else:
        yield missing(
            "ALLOWED_ORIGINS",
            "It names no site, so only this service's own sample page can ask readers.",
            "Set it to your site, https://www.example.com.",
        )
    for warning in settings.warnings:
        name, _, text = warning.partition(" ")
        if name != "VAPID_SUBJECT":
            yield unseen(name, text[:1].upper() + text[1:])


def _database(settings: Settings) -> Iterator[Finding]:
    db = Database(settings.database)
    try:
        require(db)
        yield there("database", f"{'SQLite' if db.is_sqlite else 'PostgreSQL'}, up to date.")
        keys = load_vapid_keys(db, settings.home)
        if keys:
            yield there("VAPID keys", f"{len(keys)}, with their private halves.")
        else:
            yield missing("VAPID keys", "There is none yet.", "Run `notifier setup`.")
        yield from examine_running(db)
    except SQLAlchemyError as error:
        # The driver's own words may hold addresses and values; its first line says enough.
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        yield missing("database", f"It cannot be used: {reason}.", "Look at DATABASE_URL.")
    except NotifierError as error:
        text, _, todo = str(error).partition(". ")
        yield missing("database and keys", f"{text}.", todo)
    finally:
        db.close()


def _broker(settings: Settings) -> Finding:
    if not settings.redis_url and not (settings.home / "secrets" / "broker").exists():
        return missing("broker", "It has no password yet.", "Run `notifier setup`.")
    url = urlsplit(broker_url(settings))
    if url.scheme not in ("redis", "rediss"):
        return unseen("broker", f"{url.scheme}:// cannot be examined from here.")
    try:
        answer = _ping(url.hostname or "localhost", url.port or _REDIS_PORT, *_login(url.netloc),
                       encrypted=url.scheme == "rediss")  # fmt: skip
    except (OSError, ValueError) as error:
        whose = "Look at REDIS_URL." if settings.redis_url else "Start the service: notifier run."
        reason = error.strerror if isinstance(error, OSError) else None
        return missing("broker", f"It cannot be reached: {reason or 'no answer'}.", whose)
    if answer.startswith("+PONG"):
        return there("broker", "It answers.")
    # An answer begins with a word for what is wrong; the rest may name users and addresses.
    word = (answer or "nothing").lstrip("-").split()[0]
    return missing("broker", f"It answers {word}.", "Look at REDIS_URL and its password.")


def _login(netloc: str) -> tuple[str, str]:
    user, _, password = netloc.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)


def _ping(host: str, port: int, user: str, password: str, *, encrypted: bool) -> str:
    """The last line that a Redis or Valkey answers to AUTH, where there is a password, and PING."""
    lines = [("AUTH", user, password) if user else ("AUTH", password)] if password else []
    commands = [*lines, ("PING",)]
    with socket.create_connection((host, port), TIMEOUT.total_seconds()) as plain:
        context = ssl.create_default_context() if encrypted else None
        connection = context.wrap_socket(plain, server_hostname=host) if context else plain
        answer = ""
        with connection, connection.makefile("rb") as answers:
            for command in commands:
                connection.sendall(_encoded(*command))
                answer = answers.readline(1_000).decode(errors="replace").strip()
                if not answer.startswith("+"):
                    break
        return answer


def _encoded(*words: str) -> bytes:
    """A command as the Redis protocol has it: an array of strings with their lengths."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)

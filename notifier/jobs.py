"""The background jobs: their names, shared by those who ring and those who work, and the broker."""

from enum import StrEnum
from urllib.parse import quote

from notifier.config import Settings
from notifier.keys import secret


class Job(StrEnum):
    """A job's name; each has a queue of the same name."""

    DELIVER = "notifier.deliver"
    OWN_MESSAGES = "notifier.own_messages"


def broker_url(settings: Settings) -> str:
    """The redis:// URL of the broker: the operator's own, or the embedded one with its password."""
    if settings.redis_url:
        return settings.redis_url
    password = quote(secret(settings.home, "broker"), safe="")
    return f"redis://:{password}@127.0.0.1:{settings.broker_port}/0"

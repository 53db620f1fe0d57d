"""What the views work with: the parts that an app is put together from once."""

from dataclasses import dataclass
from typing import Self

from flask import Flask, current_app

from notifier import keys
from notifier.config import Settings
from notifier.db import Database
from notifier.endpoints import EndpointPolicy
from notifier.jobs import broker_url
from notifier.links import LinkPolicy
from notifier.reactions import Tally
from web.queue import Queue

_EXTENSION = "notifier"


@dataclass(frozen=True, slots=True)
class Services:
    """One set for each app. `queue` is rung after a commit, never inside a transaction."""

    settings: Settings
    db: Database
    endpoints: EndpointPolicy
    links: LinkPolicy
    queue: Queue
    reactions: Tally

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The services of a deployment; connects to nothing yet."""
        keys.prepare_home(settings.home)
        db = Database(settings.database)
        return cls(
            settings=settings,
            db=db,
            endpoints=EndpointPolicy(settings.extra_push_origins),
            links=LinkPolicy(hosts=settings.article_hosts, own_origin=settings.base_url),
            queue=Queue(broker_url(settings)),
            reactions=Tally(db),
        )

    def close(self) -> None:
        """Save what waits in memory, and let go of the database."""
        self.reactions.save()
        self.db.close()

    def install(self, app: Flask) -> None:
        """Make `services()` answer these in the app's requests."""
        app.extensions[_EXTENSION] = self


def services() -> Services:
    """The services of the app that is answering."""
    found: Services = current_app.extensions[_EXTENSION]
    return found

"""A publication and its ledger."""

from collections.abc import Iterator

import pytest
from newsroom import Newsroom
from publication import Publication

from notifier.config import Settings
from notifier.db import Database
from notifier.ledger import Ledger
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService


@pytest.fixture
def publication(db: Database) -> Publication:
    return Publication(db)


@pytest.fixture
def ledger(db: Database) -> Ledger:
    """A ledger of small batches, so that a few readers make several."""
    return Ledger(db, batch_size=3)


@pytest.fixture
def service() -> Iterator[PushService]:
    with PushService.in_thread() as service:
        yield service


@pytest.fixture
def control(service: PushService) -> Iterator[PushServiceControl]:
    with PushServiceControl(service.origin) as control:
        yield control


@pytest.fixture
def newsroom(db: Database, settings: Settings, control: PushServiceControl) -> Iterator[Newsroom]:
    newsroom = Newsroom(db, settings, control)
    yield newsroom
    newsroom.close()


@pytest.fixture
def other_db(settings: Settings) -> Iterator[Database]:
    """Another process's connections to the same database."""
    other = Database(settings.database)
    yield other
    other.close()

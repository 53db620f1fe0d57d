"""A publication and its ledger."""

import pytest
from publication import Publication

from notifier.db import Database
from notifier.ledger import Ledger


@pytest.fixture
def publication(db: Database) -> Publication:
    return Publication(db)


@pytest.fixture
def ledger(db: Database) -> Ledger:
    """A ledger of small batches, so that a few readers make several."""
    return Ledger(db, batch_size=3)

"""A running push service, and what talks to it."""

from collections.abc import Iterator
from typing import Any

import pytest
from rehearsal_publication import Publication

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService


@pytest.fixture
def service() -> Iterator[PushService]:
    """A push service whose simulated readers all decrypt what they receive."""
    with PushService.in_thread(sample=1) as service:
        yield service


@pytest.fixture
def control(service: PushService) -> Iterator[PushServiceControl]:
    with PushServiceControl(service.origin) as control:
        yield control


@pytest.fixture
def publication(service: PushService) -> Iterator[Publication]:
    publication = Publication(service.origin)
    with publication.session:
        yield publication


@pytest.fixture
def reader(control: PushServiceControl, publication: Publication) -> dict[str, Any]:
    """One simulated reader's subscription, made with the publication's key."""
    (subscription,) = control.add_readers(1, vapid_public_key=publication.public_key)
    return subscription

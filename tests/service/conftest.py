"""The whole service as real processes, with a local push service in place of the browsers'."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.rehearsal.deployment import Deployment, LocalPushService, rehearsal_settings
from notifier.rehearsal.rehearsal import Rehearsal

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def push(tmp_path: Path) -> Iterator[LocalPushService]:
    with LocalPushService(tmp_path / "push") as service:
        yield service


@pytest.fixture
def deployment(
    tmp_path: Path, push: LocalPushService, empty_database_url: str
) -> Iterator[Deployment]:
    """Every process of the Procfile, once on each kind of database."""
    settings = rehearsal_settings(
        tmp_path / "home", (push.origin,), database_url=empty_database_url
    )
    with Deployment(settings, PROJECT / "Procfile") as deployment:
        yield deployment


@pytest.fixture
def rehearsal(deployment: Deployment, push: LocalPushService) -> Iterator[Rehearsal]:
    rehearsal = Rehearsal(deployment.settings, push.control)
    yield rehearsal
    rehearsal.close()

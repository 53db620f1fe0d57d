"""Push services on 127.0.0.1 for the tests of this package."""

from collections.abc import Iterator

import pytest
from scripted_server import ScriptedServer, serve


@pytest.fixture
def push_server() -> Iterator[ScriptedServer]:
    yield from serve()


@pytest.fixture
def other_server() -> Iterator[ScriptedServer]:
    yield from serve()

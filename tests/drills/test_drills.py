"""One round of every drill; `make drills` runs many, with more readers and less patience."""

import os
import secrets

import nginx
import postgresql
import pytest
from drills import campaign, every
from drills.drill import Drill, Result

pytestmark = [
    pytest.mark.drill,
    pytest.mark.postgresql,
    pytest.mark.timeout(600),  # the first test waits for the rounds of all
]

READERS = 2_000
SEED = secrets.token_hex(4)
PATIENCE = 3
"""Tests have to pass on a machine that does other things, too; these limits find what hangs."""


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> dict[str, list[Result]]:
    """What one round of each of the selected drills came to."""
    chosen = {
        item.callspec.params["drill"].number
        for item in request.session.items
        if isinstance(item, pytest.Function) and "results" in item.fixturenames
    }
    drills = [drill for drill in every.DRILLS if drill.number in chosen]
    try:
        return campaign.run(drills, 1, READERS, SEED, lambda *_: None, patience=PATIENCE)
    except (nginx.NotInstalledError, postgresql.NotInstalledError) as error:
        _do_without(str(error))
        raise


@pytest.mark.parametrize("drill", every.DRILLS, ids=lambda drill: f"{drill.number} {drill.title}")
def test_nothing_is_lost(drill: Drill, results: dict[str, list[Result]]) -> None:
    [result] = results[drill.number]
    again = f"make drills ROUNDS=1 DRILLS={drill.number} ARGS='--readers {READERS} --seed {SEED}'"
    logs = "\n".join(result.logs)
    assert result.problems == [], f"{result}\nThe same moments again: {again}\n{logs}"


def _do_without(missing: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)

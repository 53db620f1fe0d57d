"""Simulated readers as the control API hands them out."""

import json
from typing import Any

import pytest
import requests

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.push_service import PushService


def test_readers_have_endpoints_and_secrets_of_their_own(control: PushServiceControl) -> None:
    subscriptions = list(control.add_readers(300))
    assert len({s["endpoint"] for s in subscriptions}) == 300
    assert len({s["keys"]["auth"] for s in subscriptions}) == 300
    assert len({s["keys"]["p256dh"] for s in subscriptions}) == 64
    assert all(s["endpoint"].startswith(f"{control.origin}/wpush/v2/") for s in subscriptions)


def test_a_list_and_a_stream_give_the_same() -> None:
    def readers(accept: str) -> requests.Response:
        with PushService.in_thread() as other:
            return requests.post(
                f"{other.origin}/control/readers",
                json={"count": 2500, "seed": "same"},
                headers={"Accept": accept, "Host": "push.localhost"},
                timeout=30,
            )

    as_list = readers("application/json")
    as_stream = readers("application/x-ndjson")
    assert as_list.headers["Content-Type"].startswith("application/json")
    lines = [json.loads(line) for line in as_stream.text.splitlines()]
    assert as_list.json() == lines
    assert len(lines) == 2500


def test_the_same_seed_gives_the_same_readers_again() -> None:
    def tokens(seed: int) -> list[str]:
        with PushService.in_thread() as service, PushServiceControl(service.origin) as control:
            return [s["endpoint"].rpartition("/")[2] for s in control.add_readers(10, seed=seed)]

    assert tokens(1) == tokens(1)
    assert set(tokens(1)).isdisjoint(tokens(2))


def test_crowds_with_the_same_seed_do_not_share_endpoints(control: PushServiceControl) -> None:
    first, second = (list(control.add_readers(10, seed=1)) for _ in range(2))
    assert {s["endpoint"] for s in first}.isdisjoint(s["endpoint"] for s in second)


@pytest.mark.parametrize(
    "order",
    [
        {},
        {"count": 0},
        {"count": 1, "vapid_public_key": "BAAA"},
        {"count": 1, "vapid_public_key": "not base64url"},
        {"count": 1, "colour": "red"},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    service: PushService, order: dict[str, Any]
) -> None:
    answer = requests.post(f"{service.origin}/control/readers", json=order, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"]

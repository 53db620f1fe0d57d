"""`webpush()` in a loop with one requests session and the key read once."""

import os
from collections.abc import Callable
from typing import Any

import requests
from py_vapid import Vapid
from pywebpush import webpush

from bench.peers.measured import CACHED, Order, Subscriptions, main
from bench.peers.pywebpush_token import vapid_headers


def prepare(order: Order, form: str) -> Callable[[Subscriptions], list[int]]:
    session = requests.Session()
    os.environ["REQUESTS_CA_BUNDLE"] = order["ca_file"]
    key = Vapid.from_file(order["vapid_key_file"])
    token = vapid_headers(order) if form == CACHED else {}

    def send(readers: Subscriptions) -> list[int]:
        return [_send_one(reader) for reader in readers]

    def _send_one(reader: dict[str, Any]) -> int:
        if token:
            answer = webpush(
                reader,
                order["plaintext"],
                ttl=order["ttl"],
                headers=token,
                requests_session=session,
            )
        else:
            answer = webpush(
                reader,
                order["plaintext"],
                vapid_private_key=key,
                vapid_claims={"sub": order["subject"]},
                ttl=order["ttl"],
                requests_session=session,
            )
        return answer.status_code

    return send


if __name__ == "__main__":
    main(prepare)

"""`webpush()` in a loop, as pywebpush's README shows it."""

import os
from collections.abc import Callable
from typing import Any

from pywebpush import webpush

from bench.peers.measured import Order, Subscriptions, main
from bench.peers.pywebpush_token import vapid_headers


def prepare(order: Order, cached: bool) -> Callable[[Subscriptions], list[int]]:
    os.environ["REQUESTS_CA_BUNDLE"] = order["ca_file"]
    token = vapid_headers(order) if cached else {}

    def send(readers: Subscriptions) -> list[int]:
        return [_send_one(reader) for reader in readers]

    def _send_one(reader: dict[str, Any]) -> int:
        if cached:
            answer = webpush(reader, order["plaintext"], ttl=order["ttl"], headers=token)
        else:
            answer = webpush(
                reader,
                order["plaintext"],
                vapid_private_key=order["vapid_key_file"],
                vapid_claims={"sub": order["subject"]},
                ttl=order["ttl"],
            )
        return answer.status_code

    return send


if __name__ == "__main__":
    main(prepare)

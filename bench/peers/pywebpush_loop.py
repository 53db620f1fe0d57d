"""`webpush()` in a loop, as pywebpush's README shows it.

The form `public` trusts the public authorities, too, as everybody does who sends to a real push
service: requests reads all of them for every connection.
"""

import os
from collections.abc import Callable
from typing import Any

from pywebpush import webpush

from bench.peers.measured import CACHED, Order, Subscriptions, main
from bench.peers.pywebpush_token import vapid_headers


def prepare(order: Order, form: str) -> Callable[[Subscriptions], list[int]]:
    os.environ["REQUESTS_CA_BUNDLE"] = order["all_ca_file" if form == "public" else "ca_file"]
    token = vapid_headers(order) if form == CACHED else {}

    def send(readers: Subscriptions) -> list[int]:
        return [_send_one(reader) for reader in readers]

    def _send_one(reader: dict[str, Any]) -> int:
        if token:
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

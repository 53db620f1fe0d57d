"""The project's own sender, as a worker process uses it, without ledger and database."""

from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from pathlib import Path

from notifier.config import Settings
from notifier.endpoints import EndpointPolicy
from notifier.push import (
    Accepted,
    Message,
    Sender,
    Target,
    Transport,
    VapidKey,
    VapidSigner,
    pad,
)

from bench.peers.measured import Order, Subscriptions, main
from bench.readers import from_base64url

CONCURRENCY = Settings.model_fields["send_concurrency"].default
POLL = timedelta(milliseconds=50)


def prepare(order: Order, _form: str) -> Callable[[Subscriptions], list[int]]:
    origin = "/".join(order["subscriptions"][0]["endpoint"].split("/")[:3])
    key = VapidKey.load(Path(order["vapid_key_file"]))
    sender: Sender[None] = Sender(
        Transport(concurrency=CONCURRENCY, ca_file=Path(order["ca_file"])),
        VapidSigner({1: key}, order["subject"]),
        EndpointPolicy([origin]),
    )
    message = Message(
        padded=pad(order["plaintext"].encode()),
        ttl=timedelta(seconds=order["ttl"]),
        urgency="high",
        topic="budget-vote",
    )
    # In the form of the database, which has raw keys.
    targets = {
        reader["endpoint"]: Target(
            reader["endpoint"],
            from_base64url(reader["keys"]["p256dh"]),
            from_base64url(reader["keys"]["auth"]),
            1,
        )
        for reader in order["subscriptions"]
    }

    def send(readers: Subscriptions) -> list[int]:
        statuses: list[int] = []
        left = iter([targets[reader["endpoint"]] for reader in readers])
        while len(statuses) < len(readers):
            for target in islice(left, max(sender.free, 0)):
                sender.submit(None, target, message)
            for _, outcome in sender.poll(POLL):
                statuses.append(201 if isinstance(outcome, Accepted) else 0)
        return statuses

    return send


if __name__ == "__main__":
    main(prepare)

"""Readers for the bench: browsers' keys and endpoints, and the alert that all of them are sent."""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bench.sink import Sink

KEY_PAIRS = 256
SUBJECT = "mailto:newsdesk@example.com"
TTL = 4 * 3600

PLAINTEXT = json.dumps(
    {
        "notification": {
            "title": "Parliament passes budget after all-night sitting",
            "body": "The coalition's spending plan was carried by 312 votes to 287.",
            "lang": "en",
            "dir": "ltr",
            "icon": "https://alerts.example.com/static/icon-192.png",
            "tag": "6f1b2a7c-budget-vote",
            "timestamp": 1_790_000_000_000,
            "actions": [{"action": "read", "title": "Read"}],
            "data": {
                "url": "https://www.example.com/politics/2026/budget-vote",
                "alert": "48121",
                "story": "6f1b2a7c-budget-vote",
                "revision": 3,
                "kind": "breaking",
                "sent_at": "2026-09-21T13:20:00Z",
                "expires_at": "2026-09-21T17:20:00Z",
            },
        }
    },
    separators=(",", ":"),
).encode()


@dataclass(frozen=True)
class Reader:
    """One subscription, its keys in the raw form of the database."""

    endpoint: str
    p256dh: bytes
    auth: bytes
    private_key: ec.EllipticCurvePrivateKey

    def as_subscription_info(self) -> dict[str, object]:
        """The form that browsers hand to a site, and that Web Push libraries take."""
        keys = {"p256dh": base64url(self.p256dh), "auth": base64url(self.auth)}
        return {"endpoint": self.endpoint, "keys": keys}


def make_readers(origin: str, count: int) -> list[Reader]:
    """`count` readers with endpoints as long as Google's. They share KEY_PAIRS key pairs."""
    pairs = [ec.generate_private_key(ec.SECP256R1()) for _ in range(min(KEY_PAIRS, count))]
    points = [
        pair.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        for pair in pairs
    ]
    return [
        Reader(
            f"{origin}/fcm/send/{base64url(os.urandom(9))}:APA91b{base64url(os.urandom(100))}",
            points[number % len(pairs)],
            os.urandom(16),
            pairs[number % len(pairs)],
        )
        for number in range(count)
    ]


def write_order(path: Path, readers: list[Reader], front: Sink, vapid_key: Path) -> None:
    """What a subject needs to know to send: readers, message, key and authorities, as JSON."""
    key = ec.generate_private_key(ec.SECP256R1())
    vapid_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    order = {
        "subscriptions": [reader.as_subscription_info() for reader in readers],
        "plaintext": PLAINTEXT.decode(),
        "ttl": TTL,
        "subject": SUBJECT,
        "vapid_key_file": str(vapid_key),
        "vapid_private_key": base64url(scalar),
        "vapid_public_key": base64url(point),
        "ca_file": str(front.own_ca_file),
        "all_ca_file": str(front.all_ca_file),
    }
    path.write_text(json.dumps(order))


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

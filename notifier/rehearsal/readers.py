"""Simulated readers: one with a key pair of its own, or a crowd of up to millions."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from notifier.rehearsal.content_coding import b64url_encode, decrypt, encode_point

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class SimulatedReader:
    """One reader's browser: it holds a key pair and an auth secret, and reads what it is sent."""

    def __init__(
        self,
        endpoint: str,
        *,
        private_key: ec.EllipticCurvePrivateKey | None = None,
        auth: bytes | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.auth = os.urandom(16) if auth is None else auth
        self._private_key = private_key or ec.generate_private_key(ec.SECP256R1())

    def subscription_json(self) -> dict[str, Any]:
        """What PushSubscription.toJSON() gives in a browser."""
        point = encode_point(self._private_key.public_key())
        return {
            "endpoint": self.endpoint,
            "expirationTime": None,
            "keys": {"p256dh": b64url_encode(point), "auth": b64url_encode(self.auth)},
        }

    def decrypt(self, body: bytes) -> bytes:
        """Read a push message (RFC 8291). Raises MalformedBodyError or DecryptionError."""
        return decrypt(body, self._private_key, self.auth)


@dataclass(frozen=True, slots=True)
class CrowdMember:
    """What a crowd knows of one of its readers."""

    token: str
    p256dh: str
    auth: bytes
    private_key: ec.EllipticCurvePrivateKey


class Crowd:
    """Many simulated readers that take no memory: everything about each follows from a seed.

    Key pairs are shared. A crowd has 64 real P-256 key pairs that its readers take in turn,
    because a million key generations would take minutes and prove nothing; the auth secret and
    the token are each reader's own, so a push message encrypted for one cannot be read by
    another. The same seed gives the same readers every time.
    """

    KEY_PAIRS = 64
    _MAC_BYTES = 16

    def __init__(self, number: int, count: int, *, seed: str | int | None = None) -> None:
        self.count = count
        self._number = number.to_bytes(2, "big")
        chosen = os.urandom(32) if seed is None else str(seed).encode()
        self._seed = hashlib.blake2b(chosen + self._number, digest_size=32).digest()
        self._private_keys = [self._derive_key(i) for i in range(min(self.KEY_PAIRS, count))]
        self._p256dh = [b64url_encode(encode_point(k.public_key())) for k in self._private_keys]

    def member(self, index: int) -> CrowdMember:
        """The reader with this index, from 0 to count - 1."""
        position = index.to_bytes(4, "big")
        secret = self._secret(position)
        token = b64url_encode(self._number + position + secret[: self._MAC_BYTES])
        pair = index % len(self._private_keys)
        return CrowdMember(
            token, self._p256dh[pair], secret[self._MAC_BYTES :], self._private_keys[pair]
        )

    def members(self) -> Iterator[CrowdMember]:
        """Every reader, in order."""
        return map(self.member, range(self.count))

    def index_of(self, raw_token: bytes) -> int | None:
        """Which reader a decoded token belongs to, or None when this crowd did not make it."""
        position = raw_token[2:6]
        index = int.from_bytes(position, "big")
        if index >= self.count or self._secret(position)[: self._MAC_BYTES] != raw_token[6:]:
            return None
        return index

    def _secret(self, position: bytes) -> bytes:
        return hashlib.blake2b(position, key=self._seed, digest_size=32).digest()

    def _derive_key(self, pair: int) -> ec.EllipticCurvePrivateKey:
        digest = hashlib.blake2b(b"key pair %d" % pair, key=self._seed).digest()
        return ec.derive_private_key(
            int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1()
        )

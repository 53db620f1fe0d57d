"""Which subscriptions exist: simulated readers and browsers, found by their endpoint's token."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from notifier.rehearsal.content_coding import b64url_decode, b64url_encode
from notifier.rehearsal.readers import Crowd, SimulatedReader

TOKEN_BYTES = 22
_CROWDS_AT_MOST = 0xFFFF


@dataclass(frozen=True, slots=True)
class ReaderSource:
    """Where the keys of a simulated reader come from."""

    crowd: Crowd
    index: int


@dataclass(frozen=True, slots=True)
class Channel:
    """Which of a real browser's subscriptions an endpoint belongs to."""

    uaid: str
    channel_id: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """One endpoint of this push service.

    number counts all subscriptions from 0. fault_point and sample_point are two independent
    numbers from 0 up to 1 that follow from the token alone, so that the same endpoints are struck
    by a fault, or decrypted, every time.
    """

    number: int
    token: str
    vapid_key: bytes | None
    owner: ReaderSource | Channel
    keep: bool = False
    fault_point: float = field(init=False)
    sample_point: float = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.token.encode(), digest_size=8).digest()
        object.__setattr__(self, "fault_point", int.from_bytes(digest[:4], "big") / 2**32)
        object.__setattr__(self, "sample_point", int.from_bytes(digest[4:], "big") / 2**32)

    def endpoint(self, origin: str) -> str:
        """The URL that messages for this subscription are sent to."""
        return f"{origin}/wpush/v2/{self.token}"

    def as_json(self, origin: str) -> dict[str, Any]:
        """What a page would get from PushSubscription.toJSON(), as far as it is known here."""
        described: dict[str, Any] = {"endpoint": self.endpoint(origin), "expirationTime": None}
        if isinstance(self.owner, ReaderSource):
            member = self.owner.crowd.member(self.owner.index)
            described["keys"] = {"p256dh": member.p256dh, "auth": b64url_encode(member.auth)}
        return described

    def reader(self, origin: str) -> SimulatedReader | None:
        """The simulated reader behind it; None for a browser, which keeps its keys to itself."""
        if isinstance(self.owner, Channel):
            return None
        member = self.owner.crowd.member(self.owner.index)
        return SimulatedReader(
            self.endpoint(origin), private_key=member.private_key, auth=member.auth
        )


@dataclass(frozen=True, slots=True)
class _Enlisted:
    crowd: Crowd
    first_number: int
    vapid_key: bytes | None
    keep: bool

    def subscription(self, index: int, token: str) -> Subscription:
        return Subscription(
            self.first_number + index,
            token,
            self.vapid_key,
            ReaderSource(self.crowd, index),
            self.keep,
        )

    def subscriptions(self) -> Iterator[Subscription]:
        for index, member in enumerate(self.crowd.members()):
            yield self.subscription(index, member.token)


class Registry:
    """All subscriptions, and which of them are gone for good."""

    def __init__(self) -> None:
        self.size = 0
        self.gone: dict[int, int] = {}
        """The status, 404 or 410, that each subscription that is gone answers with, by number."""
        self._crowds: list[_Enlisted] = []
        self._channels: dict[str, Subscription] = {}

    def enlist(
        self,
        count: int,
        *,
        vapid_key: bytes | None,
        seed: str | int | None = None,
        keep: bool = False,
    ) -> Iterator[Subscription]:
        """Add a crowd of simulated readers at once, and go through them.

        Raises ValueError when there are too many crowds.
        """
        if len(self._crowds) > _CROWDS_AT_MOST:
            raise ValueError("too many crowds of readers")
        crowd = Crowd(len(self._crowds), count, seed=seed)
        enlisted = _Enlisted(crowd, self.size, vapid_key, keep)
        self._crowds.append(enlisted)
        self.size += count
        return enlisted.subscriptions()

    def clear(self) -> None:
        """Forget every subscription."""
        self.size = 0
        self.gone.clear()
        self._crowds.clear()
        self._channels.clear()

    def add_channel(self, channel: Channel, vapid_key: bytes | None) -> Subscription:
        """Add a subscription of a browser."""
        token = b64url_encode(os.urandom(TOKEN_BYTES))
        subscription = Subscription(self.size, token, vapid_key, channel, keep=True)
        self._channels[token] = subscription
        self.size += 1
        return subscription

    def find(self, token: str) -> Subscription | None:
        """The subscription with this token, gone or not; None for a token never given out."""
        channel = self._channels.get(token)
        if channel is not None:
            return channel
        try:
            raw_token = b64url_decode(token)
        except ValueError:
            return None
        crowd_number = int.from_bytes(raw_token[:2], "big")
        if len(raw_token) != TOKEN_BYTES or crowd_number >= len(self._crowds):
            return None
        enlisted = self._crowds[crowd_number]
        index = enlisted.crowd.index_of(raw_token)
        return None if index is None else enlisted.subscription(index, token)

    def __iter__(self) -> Iterator[Subscription]:
        for enlisted in self._crowds:
            yield from enlisted.subscriptions()
        yield from list(self._channels.values())

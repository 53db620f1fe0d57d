"""Sending: endpoint check, encryption, signature and transport joined into one."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar, cast

from notifier.endpoints import Endpoint, EndpointPolicy
from notifier.errors import InvalidInput, NotifierError
from notifier.push.exchange import PushRequest
from notifier.push.message import encrypt_all
from notifier.push.outcome import Answer, Outcome, Rejected, outcome_of
from notifier.push.transport import Transport
from notifier.push.vapid import VapidSigner

URGENCIES = ("very-low", "low", "normal", "high")
NOT_SENT = Rejected(status=0)
"""The outcome of a target that we do not send to, because its endpoint or keys are not valid."""

_MOST_HEADERS = 64  # kept ready: an alert's change once a second, with its TTL

_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
_SUSPECT_OURSELVES = frozenset({400, 401, 403})

TokenT = TypeVar("TokenT")
_Sending = tuple[TokenT, Endpoint, int]  # what the transport hands back: with the VAPID key's id


class Target(NamedTuple):
    """Where a push message goes: what is kept of a subscription for that."""

    endpoint: str
    p256dh: bytes
    auth: bytes
    vapid_key_id: int

    def __repr__(self) -> str:
        return f"Target(vapid_key_id={self.vapid_key_id!r})"  # the rest is the reader's secret


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent to many targets. `padded` comes from `notifier.push.pad`.

    `ttl`, `urgency` and `topic` are the headers of RFC 8030, section 5; a part of a second does
    not count, and a `ttl` of zero means now or never. Raises InvalidInput when `ttl` is negative,
    `urgency` is none of URGENCIES, or `topic` is not 1 to 32 characters of base64url.
    """

    padded: bytes = field(repr=False)
    ttl: timedelta
    urgency: str = "normal"
    topic: str | None = None
    headers: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.ttl < timedelta(0):
            raise InvalidInput("The time to live is negative.", field="ttl")
        if self.urgency not in URGENCIES:
            raise InvalidInput(f"The urgency is none of {', '.join(URGENCIES)}.", field="urgency")
        if self.topic is not None and not _TOPIC.fullmatch(self.topic):
            raise InvalidInput(
                "The topic is not 1 to 32 characters of the base64url alphabet.", field="topic"
            )
        headers = [
            f"TTL: {self.ttl // timedelta(seconds=1)}",
            f"Urgency: {self.urgency}",
            "Content-Encoding: aes128gcm",
            "Content-Type: application/octet-stream",
        ]
        if self.topic is not None:
            headers.append(f"Topic: {self.topic}")
        object.__setattr__(self, "headers", tuple(headers))


class Sender(Generic[TokenT]):
    """Sends messages to targets and says what became of each, in the order that answers come.

    The endpoint is checked again in front of every send, so that no row of the database, however
    it got there, makes us call anything else. For one thread, like its transport, which it owns.
    """

    def __init__(self, transport: Transport, signer: VapidSigner, policy: EndpointPolicy) -> None:
        self._transport = transport
        self._signer = signer
        self._policy = policy
        self._new: list[tuple[TokenT, Target, Message]] = []
        self._not_sent: list[TokenT] = []
        self._known_headers: dict[tuple[tuple[str, ...], str], tuple[str, ...]] = {}

    @property
    def in_flight(self) -> int:
        """How many messages have been submitted whose outcomes `poll` has not handed back."""
        return self._transport.in_flight + len(self._new) + len(self._not_sent)

    @property
    def free(self) -> int:
        """How many messages may be submitted now."""
        return self._transport.free - len(self._new) - len(self._not_sent)

    def submit(self, token: TokenT, target: Target, message: Message) -> None:
        """Send a message; `poll` will hand back `token` with the outcome.

        A target that must not be sent to does not raise: its outcome is NOT_SENT. Nothing is done
        before the next `poll`. Raises RuntimeError when none is free.
        """
        if self.free <= 0:
            raise RuntimeError("as many messages are in flight as the transport allows")
        self._new.append((token, target, message))

    def poll(self, wait: timedelta, now: datetime | None = None) -> list[tuple[TokenT, Outcome]]:
        """Encrypt, sign, send and receive until there are outcomes, for at most `wait`.

        Returns the outcomes with their tokens; at once when nothing is in flight. Dates that
        answers name are taken to be after `now`, by this machine's clock if it is not given.
        """
        self._send_new()
        outcomes: list[tuple[TokenT, Outcome]] = [(token, NOT_SENT) for token in self._not_sent]
        self._not_sent.clear()
        answers = self._transport.poll(timedelta(0) if outcomes else wait)
        now = now or datetime.now(UTC)
        for (token, endpoint, vapid_key_id), answer in cast(  # nobody else uses our transport
            "list[tuple[_Sending[TokenT], Answer]]", answers
        ):
            if answer.status in _SUSPECT_OURSELVES:
                self._signer.resign(vapid_key_id, endpoint.origin)
            outcomes.append((token, outcome_of(answer, endpoint.push_service, now)))
        return outcomes

    def recall(self, which: Callable[[TokenT], bool]) -> list[TokenT]:
        """Take back the messages that `which` chooses by token and that are not sent yet.

        Returns their tokens.
        """
        recalled = [token for token, *_ in self._new if which(token)]
        self._new = [new for new in self._new if not which(new[0])]
        sendings = self._transport.recall(lambda one: which(cast("_Sending[TokenT]", one)[0]))
        return recalled + [cast("_Sending[TokenT]", one)[0] for one in sendings]

    def close(self) -> None:
        """Abandon what is in flight and close the transport."""
        self._new.clear()
        self._not_sent.clear()
        self._transport.close()

    def _send_new(self) -> None:
        """Check and sign all that is new, encrypt all of it, and hand all to the transport.

        One after the other, as encryption fills the processor's caches: what comes between two of
        them takes longer than it does by itself.
        """
        new, self._new = self._new, []
        signed: list[tuple[TokenT, Target, Message, Endpoint, tuple[str, ...]]] = []
        for token, target, message in new:
            try:
                endpoint = self._policy.check(target.endpoint)
                authorization = self._signer.authorization(target.vapid_key_id, endpoint.origin)
            except (NotifierError, ValueError):
                self._not_sent.append(token)
            else:
                headers = self._headers(message, authorization)
                signed.append((token, target, message, endpoint, headers))
        bodies = encrypt_all(
            [(message.padded, target.p256dh, target.auth) for _, target, message, *_ in signed]
        )
        for (token, target, _, endpoint, headers), body in zip(signed, bodies, strict=True):
            if body is None:
                self._not_sent.append(token)
            else:
                request = PushRequest(endpoint.url, headers, body)
                self._transport.submit((token, endpoint, target.vapid_key_id), request)

    def _headers(self, message: Message, authorization: str) -> tuple[str, ...]:
        """A request's headers; the same object as long as nothing in them changes.

        That spares the transport most of its work on them.
        """
        key = (message.headers, authorization)
        headers = self._known_headers.get(key)
        if headers is None:
            if len(self._known_headers) >= _MOST_HEADERS:
                self._known_headers.clear()
            headers = (*message.headers, f"Authorization: {authorization}")
            self._known_headers[key] = headers
        return headers

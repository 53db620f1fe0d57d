"""The messages that are kept to be looked at afterwards, and what their readers made of them."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

KEPT_PER_SUBSCRIPTION = 100


@dataclass(frozen=True, slots=True)
class PushMessage:
    """One accepted push message."""

    id: str
    body: bytes
    ttl: timedelta
    urgency: str | None
    topic: str | None


@dataclass(slots=True)
class KeptMessage:
    """An accepted message with what became of it.

    data is None when nobody here could read it: a browser decrypts for itself and acknowledges
    with a code (100: delivered, 101: not decrypted, 102: not delivered), and error says why a
    simulated reader could not.
    """

    message: PushMessage
    accepted_at: datetime
    data: bytes | None = None
    error: str | None = None
    ack: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The message for the control API, its data as text."""
        return {
            "id": self.message.id,
            "accepted_at": self.accepted_at.isoformat(),
            "ttl": int(self.message.ttl.total_seconds()),
            "urgency": self.message.urgency,
            "topic": self.message.topic,
            "body_bytes": len(self.message.body),
            "data": None if self.data is None else self.data.decode("utf-8", "replace"),
            "error": self.error,
            "ack": self.ack,
        }


class Inbox:
    """The last 100 messages of each subscription whose messages are kept."""

    def __init__(self) -> None:
        self._kept: dict[int, deque[KeptMessage]] = {}

    def keep(self, number: int, message: PushMessage) -> KeptMessage:
        """Keep a message of the subscription with this number."""
        kept = KeptMessage(message, datetime.now(UTC))
        self._kept.setdefault(number, deque(maxlen=KEPT_PER_SUBSCRIPTION)).append(kept)
        return kept

    def messages(self, number: int) -> list[KeptMessage]:
        """The messages kept for one subscription, oldest first."""
        return list(self._kept.get(number, ()))

    def clear(self) -> None:
        """Forget every message."""
        self._kept.clear()

    def acknowledge(self, number: int, message_id: str, code: int | None) -> None:
        """Note what a browser said of a message; one that is no longer kept is passed over."""
        for kept in self._kept.get(number, ()):
            if kept.message.id == message_id:
                kept.ack = code

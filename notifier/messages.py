"""The push messages of alerts: rendered and padded once, with the time to live that is left."""

from dataclasses import replace
from datetime import timedelta

from notifier.models import Alert, AlertKind, topic_of
from notifier.notification import Appearance, render
from notifier.push import Message, pad

_MOST = 32  # kept ready; an alert has two


class Messages:
    """Each alert's message in its two forms (see `notifier.notification`)."""

    def __init__(self, appearance: Appearance) -> None:
        self._appearance = appearance
        self._known: dict[tuple[int, bool], tuple[Message, int]] = {}

    def of(self, alert: Alert, seconds: int, *, declarative: bool) -> Message:
        """The message with `seconds` to live; made anew only as that runs down."""
        known, known_seconds = self._known.get((alert.id, declarative), (None, 0))
        if known is not None and known_seconds == seconds:
            return known
        ttl = timedelta(seconds=seconds)
        if known is not None:
            message = replace(known, ttl=ttl)
        else:
            message = Message(
                padded=pad(render(alert, self._appearance, declarative=declarative)),
                ttl=ttl,
                urgency="normal" if alert.kind == AlertKind.UPDATE else "high",
                topic=topic_of(alert.story_id),
            )
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[alert.id, declarative] = message, seconds
        return message

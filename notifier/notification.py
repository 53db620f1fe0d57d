"""The JSON that a browser receives, in the two forms that browsers understand."""

import json
from dataclasses import dataclass
from typing import Any

from notifier.models import Alert, topic_of
from notifier.push.message import MAX_PLAINTEXT

LONGEST_BODY = 240  # characters; no browser shows more


@dataclass(frozen=True, slots=True)
class Appearance:
    """What all notifications of a publication share."""

    icon: str
    language: str = "en"


def render(alert: Alert, appearance: Appearance, *, declarative: bool = False) -> bytes:
    """The plaintext of an alert's push messages, at most MAX_PLAINTEXT bytes of JSON in UTF-8.

    `declarative` is the form for Apple's endpoints, which Safari 18.4 and later show without
    running a script (Declarative Web Push). What does not fit is left out, the least important
    first: the image, then the body's and the title's end.
    """
    body = _shortened(alert.body, LONGEST_BODY)
    attempts: list[tuple[str, str, str | None]] = [
        (alert.title, body, alert.image),
        (alert.title, body, None),
        *((alert.title, _shortened(body, length), None) for length in (120, 60, 0)),
        *((_shortened(alert.title, length), "", None) for length in (200, 100, 50, 25)),
    ]
    for title, text, image in attempts:
        payload = _payload(alert, appearance, title, text, image, declarative=declarative)
        encoded = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) <= MAX_PLAINTEXT:
            return encoded
    raise ValueError(f"alert {alert.id} does not fit into a push message")


def _payload(
    alert: Alert,
    appearance: Appearance,
    title: str,
    body: str,
    image: str | None,
    *,
    declarative: bool,
) -> dict[str, Any]:
    notification: dict[str, Any] = {
        "title": title,
        "body": body,
        "lang": appearance.language,
        "dir": "auto",
        "icon": appearance.icon,
        "tag": topic_of(alert.story_id),
        "timestamp": int(alert.released_at.timestamp() * 1000),
        "actions": [{"action": "read", "title": "Read"}],
        "data": {
            "url": alert.url,
            "alert": str(alert.id),
            "story": topic_of(alert.story_id),
            "revision": alert.revision,
            "kind": alert.kind,
            "sent_at": alert.released_at.isoformat(),
            "expires_at": alert.expires_at.isoformat(),
        },
    }
    if image:
        notification["image"] = image
    if not declarative:
        return {"notification": notification}
    return {
        "web_push": 8030,
        "notification": notification | {"navigate": alert.url},
        "mutable": True,
    }


def _shortened(text: str, length: int) -> str:
    """At most `length` characters, cut between words and marked by an ellipsis."""
    if len(text) <= length:
        return text
    cut = text[: max(length - 1, 0)]
    return f"{cut.rsplit(' ', 1)[0].rstrip()}…" if length else ""

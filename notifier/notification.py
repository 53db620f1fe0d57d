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
    running a script (Declarative Web Push); it says the link twice, so an alert with a very long
    one goes out in the other form, which a script shows there too. What does not fit is left out,
    the least important first: the image, the body's and the title's end, at the very last the icon.
    """
    body = _shortened(alert.body, LONGEST_BODY)
    icon = {"icon": appearance.icon}
    image = {"image": alert.image} if alert.image else {}
    attempts: list[tuple[str, str, dict[str, str]]] = [
        (alert.title, body, icon | image),
        (alert.title, body, icon),
        *((alert.title, _shortened(body, length), icon) for length in (120, 60, 0)),
    ]
    if not declarative:
        attempts += [(_shortened(alert.title, length), "", icon) for length in (200, 100, 50, 25)]
        attempts.append((_shortened(alert.title, 25), "", {}))
    for title, text, pictures in attempts:
        payload = _payload(alert, appearance, title, text, pictures, declarative=declarative)
        encoded = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        if len(encoded) <= MAX_PLAINTEXT:
            return encoded
    if declarative:
        return render(alert, appearance)
    raise ValueError(f"alert {alert.id} does not fit into a push message")


def _payload(
    alert: Alert,
    appearance: Appearance,
    title: str,
    body: str,
    pictures: dict[str, str],
    *,
    declarative: bool,
) -> dict[str, Any]:
    notification: dict[str, Any] = {
        "title": title,
        "body": body,
        "lang": appearance.language,
        "dir": "auto",
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
    } | pictures
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
    if not length:
        return ""
    cut = text.lstrip()[: length - 1]
    return f"{(cut.rpartition(' ')[0] or cut).rstrip()}…"

"""The JSON that a browser receives, in the two forms that browsers understand."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from notifier.links import MAX_URL, is_listed
from notifier.models import Alert, AlertKind, topic_of
from notifier.phrases import direction_of, phrases_of
from notifier.push.message import MAX_PLAINTEXT

LONGEST_BODY = 240  # characters; no browser shows more


@dataclass(frozen=True, slots=True)
class Appearance:
    """What all notifications of a publication share.

    `language` is the one that it is written in (BCP 47). `service` is the origin to which browsers
    report what became of a notification. Links to `tagged_hosts` say to the site's analytics that
    the reader came by an alert.
    """

    icon: str
    language: str = "en"
    service: str = ""
    tagged_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Content:
    """What of an alert goes out; less and less of it, until it fits."""

    title: str
    body: str
    url: str
    icon: bool = True
    image: bool = False
    count: bool = True


def render(alert: Alert, appearance: Appearance, *, declarative: bool = False) -> bytes:
    """The plaintext of an alert's push messages, at most MAX_PLAINTEXT bytes of JSON in UTF-8.

    `declarative` is the form for Apple's endpoints, which Safari 18.4 and later show without
    running a script (Declarative Web Push); it says the link twice, so an alert with a very long
    one goes out in the other form, which a script shows there too. What does not fit is left out,
    the least important first: the image, the body's end, what tags the link, being counted, the
    title's end, at the very last the icon.
    """
    for content in _ever_less(alert, appearance, declarative=declarative):
        encoded = _encoded(alert, appearance, content, declarative=declarative)
        if len(encoded) <= MAX_PLAINTEXT:
            return encoded
    if declarative:
        return render(alert, appearance)
    raise ValueError(f"alert {alert.id} does not fit into a push message")


def encode(notification: dict[str, Any], *, navigate: str | None = None) -> bytes:
    """The JSON of a notification as it goes out; declarative if it is to `navigate` to a link."""
    payload: dict[str, Any] = {"notification": notification}
    if navigate is not None:
        payload = {
            "web_push": 8030,
            "notification": notification | {"navigate": navigate},
            "mutable": True,
        }
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def title_of(kind: AlertKind, title: str, language: str) -> str:
    """The title as it is shown: that of a correction says so, in the publication's language."""
    return phrases_of(language).corrected(title) if kind == AlertKind.CORRECTION else title


def _ever_less(alert: Alert, appearance: Appearance, *, declarative: bool) -> Iterator[_Content]:
    def title(length: int) -> str:
        return title_of(alert.kind, _shortened(alert.title, length), appearance.language)

    whole = title(len(alert.title))
    body = _shortened(alert.body, LONGEST_BODY)
    url = _tagged(alert, appearance)
    if alert.image:
        yield _Content(whole, body, url, image=True)
    yield _Content(whole, body, url)
    for length in (120, 60, 0):
        yield _Content(whole, _shortened(body, length), url)
    yield _Content(whole, "", alert.url)
    if declarative:
        return
    yield _Content(whole, "", alert.url, count=False)
    for length in (200, 100, 50, 25):
        yield _Content(title(length), "", alert.url, count=False)
    yield _Content(title(25), "", alert.url, count=False, icon=False)


def _encoded(
    alert: Alert, appearance: Appearance, content: _Content, *, declarative: bool
) -> bytes:
    phrases = phrases_of(appearance.language)
    is_counted = content.count and alert.count_rate is not None
    data: dict[str, Any] = {
        "url": content.url,
        "alert": str(alert.id),
        "story": topic_of(alert.story_id),
        "revision": alert.revision,
        "kind": alert.kind,
        "sent_at": alert.released_at.isoformat(),
        "expires_at": alert.expires_at.isoformat(),
    }
    if is_counted:
        report_url = f"{appearance.service}/api/v1/alerts/{alert.id}"
        data["count"] = {"url": report_url, "rate": alert.count_rate}
    notification: dict[str, Any] = {
        "title": content.title,
        "body": content.body,
        "lang": appearance.language,
        "dir": direction_of(appearance.language),
        "tag": topic_of(alert.story_id),
        "timestamp": int(alert.released_at.timestamp() * 1000),
        "actions": [
            {"action": "read", "title": phrases.read},
            {"action": "mute", "title": phrases.mute},
        ],
        "data": data,
    }
    if content.icon:
        notification["icon"] = appearance.icon
    if content.image:
        notification["image"] = alert.image
    if not declarative:
        return encode(notification)
    return encode(
        notification, navigate=_landing(content.url, alert) if is_counted else content.url
    )


def _tagged(alert: Alert, appearance: Appearance) -> str:
    """The link with parameters for the site's analytics.

    One to somewhere else, and one that has such parameters of its own, stays as it is.
    """
    parts = urlsplit(alert.url)
    listed = is_listed(parts.hostname or "", parts.netloc.lower(), appearance.tagged_hosts)
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if not listed or any(name.startswith("utm_") for name in names):
        return alert.url
    tags = urlencode(
        {"utm_source": "notifier", "utm_medium": "push", "utm_campaign": f"alert-{alert.id}"}
    )
    query = f"{parts.query}&{tags}" if parts.query else tags
    tagged = parts._replace(query=query).geturl()
    return tagged if len(tagged) <= MAX_URL else alert.url


def _landing(url: str, alert: Alert) -> str:
    """The link with a mark by which the page it leads to can count the click.

    Where a browser opens the link by itself, no script of ours runs before the page's own. A link
    that has a fragment keeps it, and is not counted. A share to be counted stands behind the id.
    """
    if "#" in url:
        return url
    share = "" if alert.count_rate == 1 else f",{alert.count_rate:g}"
    return f"{url}#notifier-alert={alert.id}{share}"


def _shortened(text: str, length: int) -> str:
    """At most `length` characters, cut between words and marked by an ellipsis."""
    if len(text) <= length:
        return text
    if not length:
        return ""
    cut = text.lstrip()[: length - 1]
    return f"{(cut.rpartition(' ')[0] or cut).rstrip()}…"

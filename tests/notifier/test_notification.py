"""The JSON that browsers receive: complete, in both forms, and never too large."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.models import Alert, AlertKind
from notifier.notification import Appearance, render
from notifier.push import MAX_PLAINTEXT

# The host may be long, too: the name of an internet host has up to 253 characters.
APPEARANCE = Appearance(icon=f"https://{'h' * 200}.example.com/static/icon-192.png", language="de")
URL = "https://www.example.com/"

# Everything but halves of surrogate pairs, which neither JSON nor a database lets in.
TEXT = st.characters(exclude_categories=["Cs"])
URL_CHARACTER = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='\\"')


def make_alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "id": 2**53,
        "story_id": 2**53,
        "revision": 3,
        "kind": AlertKind.CORRECTION,
        "title": "Bridge closed",
        "body": "Until further notice.",
        "url": f"{URL}bridge",
        "image": None,
        "released_at": datetime(2026, 3, 1, 6, 30, tzinfo=UTC),
        "expires_at": datetime(2026, 3, 1, 10, 30, tzinfo=UTC),
    }
    return Alert(**(values | changes))


def test_the_form_for_most_browsers() -> None:
    alert = make_alert(id=7, story_id=5, image="https://cdn.example.com/bridge.jpg")

    payload = json.loads(render(alert, Appearance(icon="https://www.example.com/i.png")))

    assert payload == {
        "notification": {
            "title": "Bridge closed",
            "body": "Until further notice.",
            "lang": "en",
            "dir": "auto",
            "icon": "https://www.example.com/i.png",
            "image": "https://cdn.example.com/bridge.jpg",
            "tag": "story-5",
            "timestamp": 1_772_346_600_000,
            "actions": [{"action": "read", "title": "Read"}],
            "data": {
                "url": "https://www.example.com/bridge",
                "alert": "7",
                "story": "story-5",
                "revision": 3,
                "kind": "correction",
                "sent_at": "2026-03-01T06:30:00+00:00",
                "expires_at": "2026-03-01T10:30:00+00:00",
            },
        }
    }


def test_the_form_that_safari_shows_by_itself() -> None:
    alert = make_alert()

    plain = json.loads(render(alert, APPEARANCE))
    declarative = json.loads(render(alert, APPEARANCE, declarative=True))

    assert declarative == {
        "web_push": 8030,
        "notification": plain["notification"] | {"navigate": alert.url},
        "mutable": True,
    }


@pytest.mark.parametrize("declarative", [False, True])
@given(
    title=st.text(TEXT, min_size=1, max_size=300),
    body=st.text(TEXT, max_size=5000),
    path=st.text(URL_CHARACTER, max_size=2048 - len(URL)),
    image=st.none() | st.text(URL_CHARACTER, max_size=2048 - len(URL)),
)
@example(title="\x01" * 300, body="\x01" * 5000, path="a" * 2024, image="b" * 2024)
@example(title="🚧" * 300, body="🚧" * 5000, path="a" * 2024, image=None)
@example(title=" " + "x" * 299, body="", path="a" * 2024, image=None)
@example(title="x" * 300, body="", path="a" * 1100, image=None)
def test_every_alert_fits(
    declarative: bool, title: str, body: str, path: str, image: str | None
) -> None:
    alert = make_alert(
        title=title, body=body, url=URL + path, image=None if image is None else URL + image
    )

    encoded = render(alert, APPEARANCE, declarative=declarative)

    assert len(encoded) <= MAX_PLAINTEXT
    shown = json.loads(encoded)["notification"]
    beginning = shown["title"].removesuffix("…")
    assert beginning
    assert title.lstrip().startswith(beginning) or shown["title"] == title
    assert shown["data"]["url"] == URL + path
    assert shown.get("navigate", URL + path) == URL + path


def test_the_least_important_is_left_out_first() -> None:
    title, body, image = "t" * 290, "Words " * 800, f"{URL}{'i' * 500}"
    seen = []
    for length in range(0, 2024, 16):
        alert = make_alert(title=title, body=body, url=URL + "u" * length, image=image)
        shown = json.loads(render(alert, APPEARANCE))["notification"]
        seen.append(("image" in shown, len(shown["body"]), len(shown["title"])))

    assert seen == sorted(seen, reverse=True)
    assert seen[0] == (True, 234, 290)
    assert (False, 234, 290) in seen
    assert (False, 0, 290) in seen
    assert seen[-1] == (False, 0, 50)
    assert all(title_length == 290 or not body_length for _, body_length, title_length in seen)


def test_a_body_is_cut_between_words() -> None:
    body = json.loads(render(make_alert(body="Lorem ipsum " * 100), APPEARANCE))["notification"][
        "body"
    ]

    assert len(body) <= 240
    assert body.endswith(("Lorem…", "ipsum…"))


def test_text_stays_text() -> None:
    nasty = '</script><img src=x onerror=alert(1)> "\\ \u2028 \u202e'

    payload = json.loads(render(make_alert(title=nasty, body=nasty), APPEARANCE))

    assert payload["notification"]["title"] == nasty
    assert payload["notification"]["body"] == nasty

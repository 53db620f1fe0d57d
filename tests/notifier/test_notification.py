"""The JSON that browsers receive: complete, in both forms, and never too large."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.links import MAX_URL
from notifier.models import Alert, AlertKind
from notifier.notification import Appearance, render
from notifier.push import MAX_PLAINTEXT

# The host may be long, too: the name of an internet host has up to 253 characters.
SERVICE = f"https://{'h' * 200}.example.com"
APPEARANCE = Appearance(
    icon=f"{SERVICE}/static/icon-192.png",
    language="de",
    service=SERVICE,
    tagged_hosts=("www.example.com",),
)
URL = "https://www.example.com/"
TAGS = "utm_source=notifier&utm_medium=push&utm_campaign=alert-7"

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
        "count_rate": 0.123,
        "released_at": datetime(2026, 3, 1, 6, 30, tzinfo=UTC),
        "expires_at": datetime(2026, 3, 1, 10, 30, tzinfo=UTC),
    }
    return Alert(**(values | changes))


def shown(alert: Alert, appearance: Appearance = APPEARANCE, **form: bool) -> dict[str, Any]:
    notification: dict[str, Any] = json.loads(render(alert, appearance, **form))["notification"]
    return notification


def test_the_form_for_most_browsers() -> None:
    alert = make_alert(
        id=7, story_id=5, kind=AlertKind.BREAKING, image="https://cdn.example.com/bridge.jpg"
    )
    appearance = Appearance(
        icon="https://alerts.example.com/i.png",
        service="https://alerts.example.com",
        tagged_hosts=("www.example.com",),
    )

    assert json.loads(render(alert, appearance)) == {
        "notification": {
            "title": "Bridge closed",
            "body": "Until further notice.",
            "lang": "en",
            "dir": "ltr",
            "icon": "https://alerts.example.com/i.png",
            "image": "https://cdn.example.com/bridge.jpg",
            "tag": "story-5",
            "timestamp": 1_772_346_600_000,
            "actions": [
                {"action": "read", "title": "Read"},
                {"action": "mute", "title": "Mute this story"},
            ],
            "data": {
                "url": f"https://www.example.com/bridge?{TAGS}",
                "alert": "7",
                "story": "story-5",
                "revision": 3,
                "kind": "breaking",
                "sent_at": "2026-03-01T06:30:00+00:00",
                "expires_at": "2026-03-01T10:30:00+00:00",
                "count": {"url": "https://alerts.example.com/api/v1/alerts/7", "rate": 0.123},
            },
        }
    }


def test_the_form_that_safari_shows_by_itself() -> None:
    alert = make_alert(id=7)

    plain = json.loads(render(alert, APPEARANCE))
    declarative = json.loads(render(alert, APPEARANCE, declarative=True))

    landing = f"{URL}bridge?{TAGS}#notifier-alert=7,0.123"
    assert declarative == {
        "web_push": 8030,
        "notification": plain["notification"] | {"navigate": landing},
        "mutable": True,
    }


@pytest.mark.parametrize(
    ("rate", "url", "landing"),
    [
        (1.0, f"{URL}bridge", f"{URL}bridge#notifier-alert=7"),
        (1.0, f"{URL}bridge#latest", f"{URL}bridge#latest"),
        (None, f"{URL}bridge", f"{URL}bridge"),
    ],
)
def test_the_page_counts_the_click_where_no_script_of_ours_sees_it(
    rate: float | None, url: str, landing: str
) -> None:
    alert = make_alert(id=7, url=url, count_rate=rate)
    notification = shown(alert, Appearance(icon="", service=SERVICE), declarative=True)
    assert notification["navigate"] == landing
    assert notification["data"]["url"] == url


def test_nothing_is_counted_that_the_service_does_not_count() -> None:
    assert "count" not in shown(make_alert(count_rate=None))["data"]


@pytest.mark.parametrize(
    ("url", "tagged"),
    [
        ("https://www.example.com", f"https://www.example.com?{TAGS}"),
        (f"{URL}a?id=4&x=%C3%A9+;y", f"{URL}a?id=4&x=%C3%A9+;y&{TAGS}"),
        (f"{URL}a#part", f"{URL}a?{TAGS}#part"),
        (f"{URL}a?id=4#/route?x=1", f"{URL}a?id=4&{TAGS}#/route?x=1"),
        (f"{URL}a?utm_source=desk", f"{URL}a?utm_source=desk"),
        (f"{URL}a?utm_medium=", f"{URL}a?utm_medium="),
        ("https://elsewhere.example/a", "https://elsewhere.example/a"),
        (f"{URL}{'a' * 2000}", f"{URL}{'a' * 2000}"),
    ],
)
def test_links_to_the_publication_tell_its_analytics_where_the_reader_came_from(
    url: str, tagged: str
) -> None:
    alert = make_alert(id=7, url=url)
    assert shown(alert)["data"]["url"] == tagged
    assert shown(alert, Appearance(icon=""))["data"]["url"] == url


@pytest.mark.parametrize(
    ("language", "direction", "title", "read"),
    [
        ("en-GB", "ltr", "Correction: Bridge closed", "Read"),
        ("fr", "ltr", "Correction\N{NO-BREAK SPACE}: Bridge closed", "Lire"),
        ("es-MX", "ltr", "Corrección: Bridge closed", "Leer"),
        ("pt-BR", "ltr", "Correção: Bridge closed", "Ler"),
        ("de", "ltr", "Berichtigung: Bridge closed", "Lesen"),
        ("ar", "rtl", "تصحيح: Bridge closed", "اقرأ"),
        ("ha", "ltr", "Gyara: Bridge closed", "Karanta"),
        ("sw", "ltr", "Marekebisho: Bridge closed", "Soma"),
        # Without phrases of its own, a publication's notifications speak English.
        ("ur-PK", "rtl", "Correction: Bridge closed", "Read"),
        ("ha-Arab-NG", "rtl", "Gyara: Bridge closed", "Karanta"),
        ("ar-Latn", "ltr", "تصحيح: Bridge closed", "اقرأ"),
    ],
)
def test_a_correction_says_so_in_the_publications_language(
    language: str, direction: str, title: str, read: str
) -> None:
    notification = shown(make_alert(), Appearance(icon="", language=language))
    assert notification["lang"] == language
    assert notification["dir"] == direction
    assert notification["title"] == title
    assert notification["actions"][0]["title"] == read


@pytest.mark.parametrize(
    ("kind", "title", "expected"),
    [
        (AlertKind.CORRECTION, "CORRECTION: Bridge open", "CORRECTION: Bridge open"),
        (AlertKind.CORRECTION, "Correction - Bridge open", "Correction - Bridge open"),
        (AlertKind.CORRECTION, "Corrections to a map", "Correction: Corrections to a map"),
        (AlertKind.UPDATE, "Bridge open", "Bridge open"),
        (AlertKind.WITHDRAWAL, "We have withdrawn an alert", "We have withdrawn an alert"),
    ],
)
def test_a_title_is_marked_once_and_only_where_it_corrects(
    kind: AlertKind, title: str, expected: str
) -> None:
    assert shown(make_alert(kind=kind, title=title), Appearance(icon=""))["title"] == expected


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
    notification = json.loads(encoded)["notification"]
    beginning = notification["title"].removesuffix("…").removeprefix("Berichtigung: ")
    assert beginning
    assert title.lstrip().startswith(beginning) or beginning == title
    opened = notification["data"]["url"]
    assert len(opened) <= MAX_URL
    page, _, fragment = (URL + path).partition("#")
    assert opened.startswith(page)
    assert opened.partition("#")[2] == fragment
    assert notification.get("navigate", opened).startswith(opened)


def test_the_least_important_is_left_out_first() -> None:
    title, body, image = "t" * 290, "Words " * 800, f"{URL}{'i' * 500}"
    seen = []
    for length in range(0, 2024, 16):
        alert = make_alert(
            title=title,
            body=body,
            url=URL + "u" * length,
            image=image,
            kind=AlertKind.BREAKING,
        )
        left = shown(alert)
        seen.append(("image" in left, len(left["body"]), len(left["title"])))

    assert seen == sorted(seen, reverse=True)
    assert seen[0] == (True, 234, 290)
    assert (False, 234, 290) in seen
    assert (False, 0, 290) in seen
    assert seen[-1] == (False, 0, 25)
    assert all(title_length == 290 or not body_length for _, body_length, title_length in seen)


def test_a_body_is_cut_between_words() -> None:
    body = shown(make_alert(body="Lorem ipsum " * 100))["body"]

    assert len(body) <= 240
    assert body.endswith(("Lorem…", "ipsum…"))


def test_text_stays_text() -> None:
    nasty = '</script><img src=x onerror=alert(1)> "\\ \u2028 \u202e'

    notification = shown(make_alert(kind=AlertKind.BREAKING, title=nasty, body=nasty))

    assert notification["title"] == nasty
    assert notification["body"] == nasty

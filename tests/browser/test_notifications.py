"""What a reader sees of what arrives: one notification a story, the newest, never nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from browser import Browser
from desktop import Desktop
from notified import (
    Outbox,
    follow,
    make_alert,
    opt_in,
    replace_worker,
    seen,
    shown,
    wait_until_shown,
)
from publisher import Site
from stored import forget_everything, remember

from notifier.models import AlertKind

pytestmark = [pytest.mark.browser, pytest.mark.service]

HOUR = timedelta(hours=1)


@pytest.mark.usefixtures("page")
def test_an_alert_is_shown_as_text_with_all_that_belongs_to_it(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    markup = "</b><img src=x onerror=alert(1)> & <b>bold</b>"
    alert = make_alert(site, title=f"{markup} in {reader.name}", body=markup)
    outbox.send(reader, alert)

    notification = wait_until_shown(reader, alert.title)
    assert notification["body"] == markup
    assert notification["tag"] == f"story-{alert.story_id}"
    assert (notification["lang"], notification["dir"]) == ("en", "ltr")
    assert not notification["silent"]
    [on_screen] = seen(screen, alert.title)
    assert {"Read", "Mute this story"} <= set(on_screen.actions.values())
    assert on_screen.has_icon


@pytest.mark.usefixtures("page")
def test_what_follows_takes_the_place_of_what_was_shown(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    breaking = make_alert(site)
    update = follow(breaking, kind=AlertKind.UPDATE, title=f"Opens soon: {breaking.id}")
    correction = follow(update, kind=AlertKind.CORRECTION, title=f"Not closed: {breaking.id}")
    withdrawal = follow(correction, kind=AlertKind.WITHDRAWAL, title=f"Withdrawn: {breaking.id}")

    titles = []
    for alert, title, silent in (
        (breaking, breaking.title, False),
        (update, update.title, True),
        (correction, f"Correction: {correction.title}", False),
        (withdrawal, withdrawal.title, True),
    ):
        titles.append(title)
        outbox.send(reader, alert)
        assert bool(wait_until_shown(reader, title)["silent"]) is silent
        assert [one["title"] for one in shown(reader)] == [title]
        [on_screen] = seen(screen, title)
        assert bool(on_screen.hints.get("suppress-sound")) is silent

    *earlier, last = [notification for title in titles for notification in seen(screen, title)]
    for notification in earlier:  # replaced under its id, or taken away for the next
        if notification.id != last.id:
            screen.wait_until_closed(notification)
    assert screen.is_open(last)


@pytest.mark.usefixtures("page")
def test_a_message_that_was_overtaken_hides_nothing_newer(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    breaking = make_alert(site)
    correction = follow(breaking, kind=AlertKind.CORRECTION, title=f"Correction: {breaking.id}")
    outbox.send(reader, correction)
    assert not wait_until_shown(reader, correction.title)["silent"]

    outbox.send(reader, breaking)
    wait_until_shown(reader, correction.title, silent=True)
    assert [one["title"] for one in shown(reader)] == [correction.title]
    assert seen(screen, breaking.title) == []


@pytest.mark.usefixtures("page")
def test_another_story_with_the_same_number_is_shown_as_new(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    # As when the service's database was restored from last night's copy, and counts on from there.
    today = make_alert(site)
    yesterday = make_alert(
        site,
        story_id=today.story_id,
        revision=3,
        released_at=today.released_at - timedelta(hours=20),
        expires_at=today.released_at,
    )
    outbox.send(reader, yesterday)
    wait_until_shown(reader, yesterday.title)

    outbox.send(reader, today)
    assert not wait_until_shown(reader, today.title)["silent"]
    outbox.send(reader, today)
    wait_until_shown(reader, today.title, silent=True)


@pytest.mark.usefixtures("page")
def test_what_comes_twice_is_silent_the_second_time(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    alert = make_alert(site)
    outbox.send(reader, alert)
    assert not wait_until_shown(reader, alert.title)["silent"]
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title, silent=True)
    assert len(shown(reader)) == 1


@pytest.mark.usefixtures("page")
def test_what_comes_too_late_is_shown_silently_with_its_time(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    now = datetime.now(UTC)
    alert = make_alert(site, released_at=now - 5 * HOUR, expires_at=now - HOUR)
    outbox.send(reader, alert)
    notification = wait_until_shown(reader, alert.title)
    assert notification["silent"]
    assert notification["body"].endswith(" · Until further notice.")
    minute = (now - 5 * HOUR).astimezone().strftime(":%M")
    assert minute in notification["body"].partition(" · ")[0]


@pytest.mark.parametrize(
    "plaintext", [b"\x00\xff", b"[]", b'{"notification": {"title": "News", "data": {}}}']
)
@pytest.mark.usefixtures("page")
def test_what_cannot_be_read_is_shown_as_the_publications(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox, plaintext: bytes
) -> None:
    outbox.send_plaintext(reader, plaintext)
    notification = wait_until_shown(reader, "The Hill Valley Telegraph")
    assert notification["body"] == site.origin.removeprefix("http://")
    assert notification["silent"]
    assert notification["data"] == {"url": f"{site.origin}/"}


@pytest.mark.usefixtures("page")
def test_without_what_was_stored_alerts_are_shown_all_the_same(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    forget_everything(reader)
    alert = make_alert(site)
    outbox.send(reader, alert)
    assert not wait_until_shown(reader, alert.title)["silent"]
    outbox.send_plaintext(reader, b"?")
    wait_until_shown(reader, site.origin.removeprefix("http://"))


@pytest.mark.usefixtures("page")
def test_an_update_of_what_never_came_is_heard(reader: Browser, site: Site, outbox: Outbox) -> None:
    breaking = make_alert(site)
    update = follow(breaking, kind=AlertKind.UPDATE, title=f"Opens soon: {breaking.id}")
    outbox.send(reader, update)
    assert not wait_until_shown(reader, update.title)["silent"]


@pytest.mark.usefixtures("page")
def test_storage_that_does_not_answer_keeps_no_alert_back(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    replace_worker(reader, site, "indexedDB.open = () => ({});" + site.bare_worker)
    breaking = make_alert(site)
    update = follow(breaking, kind=AlertKind.UPDATE, title=f"Update {breaking.id}")
    outbox.send(reader, update)
    wait_until_shown(reader, update.title)
    # The same worker still knows it by itself.
    outbox.send(reader, breaking)
    wait_until_shown(reader, update.title)


def around_now(before: timedelta, after: timedelta) -> dict[str, str]:
    """Quiet hours in the local time of this machine, which is the browser's."""
    now = datetime.now(UTC).astimezone()
    return {"from": f"{now - before:%H:%M}", "to": f"{now + after:%H:%M}"}


@pytest.mark.parametrize(
    ("before", "after", "quiet"),
    [
        (HOUR, HOUR, True),
        (-HOUR, 2 * HOUR, False),
        # Most of the day but for some hours: one of the two goes over midnight, whenever it is.
        (HOUR, 22 * HOUR, True),
        (22 * HOUR, HOUR, True),
        (-HOUR, 23 * HOUR, False),
    ],
)
@pytest.mark.usefixtures("page")
def test_in_quiet_hours_nothing_makes_a_sound(
    reader: Browser,
    screen: Desktop,
    site: Site,
    outbox: Outbox,
    before: timedelta,
    after: timedelta,
    quiet: bool,
) -> None:
    remember(reader, "quietHours", around_now(before, after))
    breaking = make_alert(site)
    correction = follow(breaking, kind=AlertKind.CORRECTION, title=f"Correction: {breaking.id}")
    for alert in (breaking, correction):
        outbox.send(reader, alert)
        assert bool(wait_until_shown(reader, alert.title)["silent"]) is quiet
        on_screen = screen.wait_for(lambda one, title=alert.title: one.title == title)
        assert bool(on_screen.hints.get("suppress-sound")) is quiet


def test_the_form_for_safari_is_shown_as_safari_hands_it_over(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    # Neither of these browsers reads that form, so this plays what Safari's documentation says.
    as_safari = """
      const listen = self.addEventListener.bind(self);
      const handOver = (listener) => (event) => {
        const { notification } = event.data.json();
        listener({ notification, data: null, waitUntil: (work) => event.waitUntil(work) });
      };
      self.addEventListener = (type, listener) =>
        listen(type, type === "push" ? handOver(listener) : listener);
      const show = ServiceWorkerRegistration.prototype.showNotification;
      ServiceWorkerRegistration.prototype.showNotification = function (title, options) {
        const data = { ...options.data, navigate: options.navigate };
        return show.call(this, title, { ...options, navigate: undefined, data });
      };
    """
    opt_in(reader, site, worker=as_safari)
    alert = make_alert(site, count_rate=1.0)
    outbox.send(reader, alert, declarative=True)
    notification = wait_until_shown(reader, alert.title)
    assert notification["data"]["url"] == alert.url
    assert notification["data"]["navigate"] == f"{alert.url}#notifier-alert={alert.id}"

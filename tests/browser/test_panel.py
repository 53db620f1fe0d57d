"""The reader's panel in stock browsers: what each choice makes the service hold and send."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from axe import serious_problems
from browser import Browser
from chromium import Chromium
from desktop import Desktop
from panel_page import (
    LONG,
    PANEL,
    ROOT,
    choose,
    close_panel,
    open_panel,
    publish,
    publish_and_finish,
    release,
    reopen_panel,
    row_of,
    set_value,
    subscribe,
    wait_until_said,
)
from publisher import NONCE, Site
from stored import delete_row, recall, rows, set_gone, subscription

from notifier.alerts import Draft
from notifier.embed import embed
from notifier.models import AlertKind, Level
from notifier.rehearsal.deployment import Deployment, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.service]

LANGUAGES = ["en", "fr", "es", "pt", "de", "ar", "ha", "sw"]


@pytest.fixture
def only(service: Deployment) -> Iterator[None]:
    """The readers of earlier tests are forgotten, so that only this test's is sent to."""
    for row in rows(service):
        delete_row(service, row)


@pytest.fixture
def name(reader: Browser, request: pytest.FixtureRequest) -> str:
    """What the alerts of this test are called, unlike those of any other."""
    return f"{reader.name} {request.function.__name__[5:15]}"


def titles(screen: Desktop) -> set[str]:
    return {shown.title for shown in screen.notifications}


def test_who_is_not_subscribed_begins_here_and_finds_choices(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = row_of(service, subscribe(reader, site, service))
    assert row.endpoint == subscription(reader)["endpoint"]
    assert row.level == Level.BREAKING
    for control in ("#level-breaking", "#section-sport", "#section-world"):
        assert reader.evaluate(f"{ROOT}.querySelector('{control}').checked")


@pytest.mark.usefixtures("only")
def test_how_much_decides_what_is_sent(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, name: str
) -> None:
    row = subscribe(reader, site, service)
    choose(reader, "#level-biggest")
    assert row_of(service, row).level == Level.BIGGEST
    publish_and_finish(service, f"{name}: ordinary")
    publish(service, f"{name}: big", major=True)
    screen.wait_for(lambda shown: shown.title == f"{name}: big")
    assert f"{name}: ordinary" not in titles(screen)

    choose(reader, "#level-updates")
    update = Draft(
        f"{name}: update", "", "https://news.example.com/u", kind=AlertKind.UPDATE,
        level=Level.UPDATES,
    )  # fmt: skip
    release(service, update)
    screen.wait_for(lambda shown: shown.title == update.title)


@pytest.mark.usefixtures("only")
def test_sections_decide_what_is_sent_and_one_stays(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, name: str
) -> None:
    subscribe(reader, site, service)
    for slug in ("politics", "world", "business", "culture"):
        choose(reader, f"#section-{slug}")
    choose(reader, "#section-sport", "One section must stay")
    assert reader.evaluate(f"{ROOT}.querySelector('#section-sport').checked")

    publish_and_finish(service, f"{name}: vote", sections=("Politics",))
    publish(service, f"{name}: final", sections=("Sport",))
    screen.wait_for(lambda shown: shown.title == f"{name}: final")
    assert f"{name}: vote" not in titles(screen)

    close_panel(reader)
    reopen_panel(reader)
    assert not reader.evaluate(f"{ROOT}.querySelector('#section-politics').checked")
    # What was chosen also goes along with a later renewal of the subscription.
    assert recall(reader, "optIn")["choices"]["sections"] == ["sport"]


@pytest.mark.usefixtures("only")
def test_nothing_comes_in_a_pause_until_the_reader_goes_on(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, name: str
) -> None:
    row = subscribe(reader, site, service)
    choose(reader, "#pause-week")
    paused_until = row_of(service, row).paused_until
    assert paused_until is not None
    assert timedelta(days=6, hours=23) < paused_until - datetime.now(UTC) < timedelta(days=7)
    assert "Paused until" in reader.text()
    publish_and_finish(service, f"{name}: meanwhile")
    choose(reader, "#go-on")
    assert row_of(service, row).paused_until is None
    publish(service, f"{name}: afterwards")
    screen.wait_for(lambda shown: shown.title == f"{name}: afterwards")
    assert f"{name}: meanwhile" not in titles(screen)


@pytest.mark.usefixtures("only")
def test_a_muted_story_is_not_heard_of_until_it_is_unmuted(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, name: str
) -> None:
    publish_and_finish(service, f"{name}: beginning")
    subscribe(reader, site, service)
    mute = f"{ROOT}.querySelector('[aria-label=\"Mute this story: {name}: beginning\"]')"
    alert = reader.evaluate(f"{mute}.id")
    link = reader.evaluate(f"{mute}.closest('li').querySelector('a').href")
    assert link.startswith("https://news.example.com/")
    choose(reader, f"#{alert}")
    unmute = reader.evaluate(f"{ROOT}.querySelector('[data-part=muted] button').id")
    story_id = int(unmute.rpartition("-")[2])
    assert f"{name}: beginning" in reader.evaluate(
        f"{ROOT}.querySelector('[data-part=muted]').textContent"
    )
    draft = Draft(f"{name}: more", "", "https://news.example.com/more")
    release(service, draft, story_id)

    choose(reader, f"#{unmute}")
    again = Draft(f"{name}: yet more", "", "https://news.example.com/more")
    release(service, again, story_id)
    screen.wait_for(lambda shown: shown.title == again.title)
    assert draft.title not in titles(screen)


def test_quiet_hours_stay_on_the_device(reader: Browser, site: Site, service: Deployment) -> None:
    row = subscribe(reader, site, service)
    reader.wait_for(f"{ROOT}.querySelector('#quiet') !== null")
    asked = (
        "performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'fetch')"
        ".length"
    )
    before, held = reader.evaluate(asked), vars(row_of(service, row))
    choose(reader, "#quiet")
    assert recall(reader, "quietHours") == {"from": "22:00", "to": "07:00"}
    set_value(reader, "quiet-from", "07:00")
    wait_until_said(reader, "Choose two different times")
    assert recall(reader, "quietHours")["from"] == "22:00"
    set_value(reader, "quiet-to", "06:30")
    wait_until_said(reader, "Saved")
    assert recall(reader, "quietHours") == {"from": "07:00", "to": "06:30"}
    choose(reader, "#quiet")
    assert recall(reader, "quietHours") is None

    assert reader.evaluate(asked) == before
    now = vars(row_of(service, row))
    assert {key: now[key] for key in now if key[0] != "_"} == {
        key: held[key] for key in held if key[0] != "_"
    }


@pytest.mark.usefixtures("only")
def test_a_test_arrives(reader: Browser, site: Site, service: Deployment, screen: Desktop) -> None:
    subscribe(reader, site, service)
    already = len(screen.notifications)
    choose(reader, "#test", "A test is on its way")
    wait_until(
        lambda: any(shown.title.startswith("A test") for shown in screen.notifications[already:]),
        LONG,
        "the test",
    )


@pytest.mark.usefixtures("only")
def test_a_test_mends_a_subscription_that_is_no_more(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = subscribe(reader, site, service)
    endpoint = row_of(service, row).endpoint
    set_gone(service, row)
    choose(reader, "#test", "A test is on its way")
    assert row_of(service, row).endpoint != endpoint


def test_the_reader_sees_and_takes_along_what_is_held(
    reader: Browser, site: Site, service: Deployment
) -> None:
    watch = (
        "const make = URL.createObjectURL; URL.createObjectURL = (blob) => "
        "{ blob.text().then((text) => { window.taken = text; }); return make.call(URL, blob); };"
    )
    subscribe(reader, site, service)
    open_panel(reader, site, head=f"<script nonce={NONCE}>{watch}</script>")
    endpoint = subscription(reader)["endpoint"]
    reader.click(PANEL + "summary")
    held = reader.evaluate(f"{ROOT}.querySelector('dl').innerText")
    assert endpoint[-6:] in held
    assert endpoint not in held
    assert "All breaking news" in held

    reader.click(PANEL + "#download")
    taken = json.loads(reader.wait_for("window.taken"))
    assert taken["service"]["endpoint"] == endpoint
    assert taken["service"]["level"] == "breaking"
    assert taken["device"] == {"language": None, "quietHours": None}


def test_stopping_takes_one_click_and_there_is_a_way_back(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = subscribe(reader, site, service)
    choose(reader, "#level-biggest")
    choose(reader, "#stop", "has deleted what it held")
    assert row not in rows(service)
    assert subscription(reader) is None

    before = rows(service).keys()
    reader.click(PANEL + "#offer")
    reader.wait_for(f"{ROOT}.querySelector('#stop') !== null")
    [row] = rows(service).keys() - before
    assert row_of(service, row).level == Level.BIGGEST


def test_deleting_asks_first_and_forgets_the_device_too(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = subscribe(reader, site, service)
    choose(reader, "#quiet")
    reader.click(PANEL + "summary")
    reader.click(PANEL + "#erase")
    reader.click(PANEL + "#erase-no")
    assert row in rows(service)
    reader.click(PANEL + "#erase")
    choose(reader, "#erase-yes", "has deleted what it held")
    assert row not in rows(service)
    assert recall(reader, "quietHours") is None
    assert recall(reader, "optIn") is None
    assert recall(reader, "optedOut") is not None  # so that nobody asks again


def test_a_change_that_could_not_be_sent_waits_and_is_not_lost(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = subscribe(reader, site, service)
    web = service.programs["web"]
    web.stop()
    try:
        choose(reader, "#level-biggest", "Not saved yet")
        choose(reader, "#section-sport", "Not saved yet")
    finally:
        web.start()
    health = f"{service.settings.base_url}/healthz"
    wait_until(lambda: _answers(health), LONG, "the service")
    reader.click(PANEL + "#again")
    wait_until_said(reader, "Saved")
    assert row_of(service, row).level == Level.BIGGEST
    assert row_of(service, row).sections != 0


def test_an_open_panel_says_that_the_service_is_away(
    reader: Browser, site: Site, service: Deployment
) -> None:
    # As a page that was loaded before the connection went.
    head = (
        f"<script nonce={NONCE}>const ask = window.fetch; window.fetch = (url, how) "
        "=> window.away && /show/.test(url) ? Promise.reject(new TypeError()) : ask(url, how);"
        "</script>"
    )
    subscribe(reader, site, service)
    open_panel(reader, site, head=head)
    close_panel(reader)
    reader.evaluate("void (window.away = true)")
    reopen_panel(reader)
    assert "The service cannot be reached" in reader.text()
    reader.evaluate("void (window.away = false)")
    reader.click(PANEL + "#offer")
    reader.wait_for(f"{ROOT}.querySelector('#stop') !== null")


def test_a_reader_whom_the_service_has_lost_connects_again_with_the_choice_just_made(
    reader: Browser, site: Site, service: Deployment
) -> None:
    delete_row(service, subscribe(reader, site, service))
    before = rows(service).keys()
    reader.click(PANEL + "#level-biggest")
    reader.wait_for(f"{ROOT}.textContent.includes('no longer knows this browser')")
    reader.click(PANEL + "#offer")
    reader.wait_for(f"{ROOT}.querySelector('#stop') !== null")
    [row] = rows(service).keys() - before
    assert row_of(service, row).level == Level.BIGGEST


def test_who_has_blocked_the_site_learns_how_to_unblock(reader: Browser, site: Site) -> None:
    open_panel(reader, site)
    reader.answer_permission("denied")
    reader.click(PANEL + "#offer")
    help_to_unblock = "crossed-out icon" if reader.name == "Firefox" else "left of the address"
    reader.wait_for(f"{ROOT}.textContent.includes('{help_to_unblock}')")


def test_a_browser_without_push_is_told_so(reader: Browser, site: Site) -> None:
    head = f"<script nonce={NONCE}>delete window.PushManager;</script>"
    open_panel(reader, site, head=head)
    assert "cannot receive notifications" in reader.text()


def test_the_reader_chooses_the_language(reader: Browser, site: Site, service: Deployment) -> None:
    row = subscribe(reader, site, service)
    set_value(reader, "language", "ar")
    reader.wait_for(f"{ROOT}.querySelector('h2').textContent === 'إشعاراتك'")
    assert reader.evaluate(f"getComputedStyle({ROOT}.querySelector('.card')).direction") == "rtl"
    assert recall(reader, "language") == "ar"
    assert row_of(service, row).language == "ar"
    set_value(reader, "language", "")
    reader.wait_for(f"{ROOT}.querySelector('h2').textContent === 'Your notifications'")
    assert recall(reader, "language") is None


def test_the_dialog_keeps_the_focus_and_gives_it_back(reader: Browser, site: Site) -> None:
    open_panel(reader, site)
    assert reader.evaluate(f"{ROOT}.querySelector('dialog').matches(':modal')")
    assert reader.evaluate(f"{ROOT}.activeElement !== null")
    cancel = "dispatchEvent(new Event('cancel', { cancelable: true }))"  # what Escape fires
    reader.evaluate(f"{ROOT}.querySelector('dialog').{cancel}")
    reader.wait_for("document.querySelector('notifier-panel') === null")
    assert reader.evaluate("document.activeElement.dataset.notifier") == "preferences"


def test_the_page_that_embed_makes_shows_the_same_choices(
    reader: Browser, site: Site, service: Deployment, tmp_path: Path
) -> None:
    row = subscribe(reader, site, service)
    embed(tmp_path, site.service, "The Hill Valley Telegraph")
    reader.open(site.put("/notifications.html", (tmp_path / "notifications.html").read_text()))
    root = "document.querySelector('notifier-preferences').shadowRoot"
    reader.wait_for(f"{root}?.querySelector('#stop') != null")
    reader.click("notifier-preferences >>> #level-updates")
    reader.wait_for(f"{root}.querySelector('.said').textContent === 'Saved'")
    assert row_of(service, row).level == Level.UPDATES


def test_a_single_page_app_may_show_the_choices_at_any_time(
    reader: Browser, site: Site, service: Deployment
) -> None:
    row = subscribe(reader, site, service)
    close_panel(reader)
    main = "document.querySelector('main')"
    reader.evaluate(f"void {main}.append(document.createElement('notifier-preferences'))")
    root = "document.querySelector('notifier-preferences').shadowRoot"
    reader.wait_for(f"{root}?.querySelector('#stop') != null")

    # The app draws its page anew, and puts the same element elsewhere in it.
    reader.evaluate(
        f"void ((shown) => {{ shown.remove(); {main}.prepend(shown); }})"
        "(document.querySelector('notifier-preferences'))"
    )
    reader.wait_for(f"{root}.querySelectorAll('#stop').length === 1")
    reader.click("notifier-preferences >>> #level-updates")
    reader.wait_for(f"{root}.querySelector('.said').textContent === 'Saved'")
    assert row_of(service, row).level == Level.UPDATES


@pytest.mark.parametrize("reader", ["chromium"], indirect=True)  # which can be told the scheme
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(
    reader: Chromium, site: Site, service: Deployment, scheme: str
) -> None:
    publish_and_finish(service, "A story with a title that is long enough for two lines of text")
    reader.prefer(scheme)
    open_panel(reader, site, language="ar")
    assert serious_problems(reader) == []
    subscribe(reader, site, service)
    reader.click(PANEL + "summary")
    choose(reader, "#quiet")
    assert serious_problems(reader) == []
    body = "<notifier-preferences></notifier-preferences>"
    reader.open(site.put_page("/notifications.html", body=body))
    root = "document.querySelector('notifier-preferences').shadowRoot"
    reader.wait_for(f"{root}?.querySelector('#stop') != null")
    assert serious_problems(reader) == []


def test_every_language_has_every_text(reader: Browser, service: Deployment) -> None:
    reader.open(service.settings.base_url)
    modules = [f"import('/reader/languages/panel/{code}.js')" for code in LANGUAGES]
    texts = reader.evaluate(
        f"Promise.all([{','.join(modules)}]).then((all) => all.map((one) => one.default))"
    )
    placeholders = {key: "{" in text for key, text in texts[0].items()}
    for one in texts:
        assert {key: "{" in text for key, text in one.items()} == placeholders
        assert all(one.values())


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False

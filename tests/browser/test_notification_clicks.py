"""What a click on a notification does: the article, the story muted, and what is counted."""

import json
from datetime import timedelta

import pytest
from browser import Browser
from desktop import Desktop
from notified import (
    EVERYBODY,
    Outbox,
    follow,
    make_alert,
    opt_in,
    replace_worker,
    seen,
    shown,
    wait_until_shown,
)
from publisher import NONCE, Publishers, Site
from sqlalchemy import select
from stored import delete_row, recall, remember, rows, subscription

from notifier import alerts, subscriptions
from notifier.alerts import Draft
from notifier.db import Database
from notifier.models import Alert, AlertKind, AlertState, Reaction, ReactionCount
from notifier.notification import title_of
from notifier.rehearsal.deployment import Deployment, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.service]

LONG = timedelta(seconds=40)  # Chromium may keep a message back for the twelve of the one before
HOME = "the home page"
HANG = "indexedDB.open = () => ({}); self.fetch = () => new Promise(() => {});"
"""In front of a worker: neither storage nor network ever answers it."""

LISTEN = """void (window.heard = [], new BroadcastChannel("heard")
  .onmessage = ({ data }) => heard.push(data))"""
"""Has the page hear what the worker of a test says."""


def click(screen: Desktop, title: str, label: str | None = None) -> None:
    """Clicks the notification that shows this title now, or its button with the label."""
    screen.wait_for(lambda shown: shown.title == title, LONG)
    notification = seen(screen, title)[-1]
    keys = {text: key for key, text in notification.actions.items()}
    screen.click(notification, keys[label] if label else "default")


def open_article_beside(reader: Browser, site: Site, path: str, landed: str = "") -> str:
    """Opens an article in a tab of its own, and waits until a worker can find it there.

    A tab has its address before it has its page.
    """
    loaded = f"""<script nonce="{NONCE}">
      onload = () => new BroadcastChannel("heard").postMessage("loaded");
    </script>"""
    article = site.put_page(path, script=loaded) + landed
    reader.evaluate(LISTEN)
    reader.open_beside(article)
    reader.wait_for("heard.length > 0")
    reader.evaluate("void heard.splice(0)")
    return article


def release(service: Deployment, site: Site, *, counted: bool, sent: bool = False) -> Alert:
    """An alert that the service knows; whether it also sends it to everybody."""
    db = Database(service.settings.database)
    with db.write() as session:
        alert = alerts.release(
            session,
            Draft("Bridge closed", "", f"{site.origin}/bridge"),
            validity=timedelta(hours=1),
            released_by="an editor",
            count_reactions=counted,
        )
        if not sent:
            alert.state = AlertState.FINISHED
        session.flush()
        session.expunge(alert)
    db.close()
    return alert


def reported(service: Deployment, alert: Alert) -> dict[Reaction, int]:
    db = Database(service.settings.database)
    query = select(ReactionCount).where(ReactionCount.alert_id == alert.id)
    with db.read() as session:
        found = {row.reaction: row.reports for row in session.scalars(query)}
    db.close()
    return found


def muted(service: Deployment, browser: Browser) -> list[int]:
    """The stories that the service does not send to this reader any more."""
    endpoint = subscription(browser)["endpoint"]
    [row] = [row for row in rows(service).values() if row.endpoint == endpoint]
    db = Database(service.settings.database)
    with db.read() as session:
        found = [story for story, _ in subscriptions.muted_stories(session, row)]
    db.close()
    return found


def test_a_readers_own_message_leads_to_the_site_on_which_the_reader_opted_in(
    reader: Browser, screen: Desktop, site: Site, service: Deployment, publishers: Publishers
) -> None:
    # The service takes the first of the publication's many sites for its home.
    home = service.settings.home_page
    if site.origin == home:
        site = publishers.new_site(service.settings.base_url)
    opt_in(reader, site)
    own = recall(reader, "optIn")
    remember(reader, "optIn", own | {"hosts": [home.removeprefix("http://")]})  # one may go there
    ask = {
        "method": "POST",
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"management_token": own["managementToken"]}),
    }
    asked = f"fetch('{site.service}/api/v1/subscriptions/test', {json.dumps(ask)})"
    assert reader.evaluate(f"{asked}.then((answer) => answer.status)") == 202
    reader.open(site.put_page("/elsewhere"))
    click(screen, f"A test from {service.settings.publication_name}")
    reader.wait_for_tab(f"{site.origin}/")


@pytest.mark.usefixtures("page")
def test_a_click_opens_the_article(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    article = site.put_page("/bridge", script="")
    alert = make_alert(site, url=f"{article}?id=4&utm_source=notifier#part")
    outbox.send(reader, alert)
    click(screen, alert.title)
    reader.wait_for_tab(f"{article}?id=4&utm_source=notifier#part")
    assert shown(reader) == []


@pytest.mark.parametrize(
    "landed", ["", "#latest", "?utm_source=mail&utm_medium=x#notifier-alert=3"]
)
def test_a_tab_that_shows_the_article_is_used_again(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox, landed: str
) -> None:
    watch = """
      const focus = WindowClient.prototype.focus;
      WindowClient.prototype.focus = async function () {
        const client = await focus.call(this);
        new BroadcastChannel("heard").postMessage(`focused ${client.url}`);
      };
    """
    opt_in(reader, site, worker=watch)
    article = open_article_beside(reader, site, "/article", landed)
    before = reader.urls()
    alert = make_alert(site, url=f"{site.origin}/article?utm_source=notifier")
    outbox.send(reader, alert)
    click(screen, alert.title)
    reader.wait_for("heard.length > 0")
    assert reader.evaluate("heard") == [f"focused {article}"]
    assert sorted(reader.urls()) == sorted(before)


@pytest.mark.parametrize(
    "kind", [AlertKind.UPDATE, AlertKind.CORRECTION, AlertKind.WITHDRAWAL], ids=str
)
@pytest.mark.usefixtures("page")
def test_what_follows_up_opens_the_article_anew(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox, kind: AlertKind
) -> None:
    """A tab that is open since the first alert may still say what was wrong."""
    article = open_article_beside(reader, site, f"/then-{kind}")
    newer = follow(make_alert(site, url=article), kind=kind, title=f"A {kind} of it")
    outbox.send(reader, newer)
    click(screen, title_of(kind, newer.title, "en"))
    wait_until(lambda: reader.urls().count(article) == 2, LONG, "the article anew")


@pytest.mark.parametrize("label", ["Read", None])
@pytest.mark.usefixtures("page")
def test_the_button_reads_as_a_click_does(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox, label: str | None
) -> None:
    alert = make_alert(site, url=site.put_page(f"/read-{label}", script=""))
    outbox.send(reader, alert)
    click(screen, alert.title, label)
    reader.wait_for_tab(alert.url)


# What the message links to, the hosts that the service names (None: not known yet), what is opened.
LINKS = [
    ("javascript:alert(1)", [], HOME),
    ("data:text/html,<p>", [], HOME),
    ("http://news.example.com/a", [], HOME),
    ("https://news.example.com.evil.example/", ["news.example.com"], HOME),
    ("https://news.example.com@evil.example/", ["news.example.com"], HOME),
    ("https://evil.example/", None, HOME),
    ("", [], HOME),
    (None, [], HOME),
    ("/relative", [], HOME),
    ("https://news.example.com/a", ["news.example.com"], "https://news.example.com/a"),
    ("https://news.example.com:4/", ["news.example.com:4"], "https://news.example.com:4/"),
    ("https://anywhere.example/a", [], "https://anywhere.example/a"),
]


@pytest.mark.usefixtures("page")
def test_only_what_the_publication_links_to_is_opened(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    opted_in = recall(reader, "optIn")
    assert opted_in["hosts"] == []
    for url, hosts, opened in LINKS:
        remember(reader, "optIn", opted_in | {"hosts": hosts})
        alert = make_alert(site)
        outbox.send_changed(reader, alert, url=url)
        leads_to = wait_until_shown(reader, alert.title)["data"]["url"]
        assert leads_to == (f"{site.origin}/" if opened is HOME else opened), url


@pytest.mark.usefixtures("page")
def test_a_click_waits_for_neither_storage_nor_network(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    replace_worker(reader, site, HANG + site.bare_worker)
    alert = make_alert(site, url=site.put_page("/at-once", script=""), count_rate=1.0)
    outbox.send(reader, alert)
    click(screen, alert.title)
    reader.wait_for_tab(alert.url)


@pytest.mark.usefixtures("page")
def test_storage_and_network_that_hang_keep_no_later_alert_back(
    reader: Browser, site: Site, outbox: Outbox
) -> None:
    replace_worker(reader, site, HANG + site.bare_worker)
    for title in ("Bridge closed", "Ferry cancelled"):
        outbox.send(reader, make_alert(site, title=title, count_rate=1.0))
        wait_until_shown(reader, title)


@pytest.mark.usefixtures("page")
def test_a_bad_link_leads_home(
    reader: Browser, site: Site, screen: Desktop, outbox: Outbox
) -> None:
    alert = make_alert(site)
    outbox.send_changed(reader, alert, url="javascript:alert(1)")
    reader.open(site.put_page("/elsewhere", script=""))
    click(screen, alert.title)
    reader.wait_for_tab(f"{site.origin}/")


# ---- The story is muted ----------------------------------------------------------------------


@pytest.mark.usefixtures("page")
def test_a_story_is_muted_from_its_notification(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, outbox: Outbox
) -> None:
    tabs = reader.urls()
    alert = release(service, site, counted=False)
    alert.title = f"Muted in {reader.name}"
    outbox.send(reader, alert)
    click(screen, alert.title, "Mute this story")
    wait_until(lambda: muted(service, reader) == [alert.story_id], LONG, "the story to be muted")
    assert shown(reader) == []
    assert recall(reader, "mutes") == []
    assert reader.urls() == tabs


def test_without_network_the_mute_waits_and_what_comes_is_silent(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, outbox: Outbox
) -> None:
    opt_in(reader, site)
    replace_worker(
        reader, site, "self.fetch = async () => { throw new TypeError(); };" + site.worker
    )
    alert = release(service, site, counted=False)
    alert.title = f"Muted without network in {reader.name}"
    outbox.send(reader, alert)
    click(screen, alert.title, "Mute this story")
    reader.wait_for("told.includes('ready')")
    wait_until(lambda: recall(reader, "mutes") == [f"story-{alert.story_id}"], LONG, "the mute")
    assert muted(service, reader) == []

    again = follow(alert, title=f"Still muted in {reader.name}", kind=alert.kind)
    outbox.send(reader, again)
    assert wait_until_shown(reader, again.title)["silent"]

    replace_worker(reader, site, site.worker)
    other = make_alert(site)
    outbox.send(reader, other)
    assert not wait_until_shown(reader, other.title)["silent"]
    wait_until(lambda: muted(service, reader) == [alert.story_id], LONG, "the story to be muted")
    wait_until(lambda: recall(reader, "mutes") == [], LONG, "nothing to be left to tell")


# ---- What is counted ---------------------------------------------------------------------------


def test_what_is_shown_and_clicked_is_counted_once(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, outbox: Outbox
) -> None:
    opt_in(reader, site, worker=EVERYBODY)
    alert = release(service, site, counted=True)
    alert.title, alert.url = f"Counted in {reader.name}", site.put_page("/counted", script="")
    outbox.send(reader, alert)
    wait_until(lambda: reported(service, alert) == {Reaction.SHOWN: 1}, LONG, "the report")
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title, silent=True)
    # The browser knows of it before the desktop does, where the first one may still be.
    wait_until(lambda: len(seen(screen, alert.title)) == 2, LONG, "it to be shown again")
    click(screen, alert.title)
    both = {Reaction.SHOWN: 1, Reaction.CLICKED: 1}
    wait_until(lambda: reported(service, alert) == both, LONG, "both reports")


@pytest.mark.parametrize("policy", ["no-referrer", "same-origin"])
def test_a_site_that_hides_where_requests_come_from_is_counted_too(
    reader: Browser, site: Site, service: Deployment, outbox: Outbox, policy: str
) -> None:
    opt_in(reader, site, worker=EVERYBODY, headers={"Referrer-Policy": policy})
    alert = release(service, site, counted=True)
    outbox.send(reader, alert)
    wait_until(lambda: reported(service, alert) == {Reaction.SHOWN: 1}, LONG, "the report")


def test_the_services_worker_asks_for_reports(
    reader: Browser, site: Site, service: Deployment
) -> None:
    for row in rows(service):
        delete_row(service, row)
    opt_in(reader, site, worker=EVERYBODY)
    alert = release(service, site, counted=True, sent=True)
    wait_until(lambda: reported(service, alert) == {Reaction.SHOWN: 1}, LONG, "the report")


@pytest.mark.parametrize("reason", ["not counted", "not in the sample", "not our service"])
def test_nothing_is_reported_where_nothing_is_counted(
    reader: Browser, site: Site, service: Deployment, screen: Desktop, outbox: Outbox, reason: str
) -> None:
    watch = """
      self.Math.random = () => %s;
      const fetching = self.fetch;
      self.fetch = (...sent) => {
        new BroadcastChannel("heard").postMessage(`${sent[0]}`);
        return fetching(...sent);
      };
    """ % ("0.5" if reason == "not in the sample" else "0")
    opt_in(reader, site, worker=watch)
    reader.evaluate(LISTEN)
    alert = release(service, site, counted=reason != "not counted")
    alert.title, alert.url = f"{reason} in {reader.name}", site.put_page("/uncounted", script="")
    if alert.count_rate:
        alert.count_rate = 0.5
    if reason == "not our service":
        elsewhere = {"url": f"{site.origin}/api/v1/alerts/1", "rate": 1}
        outbox.send_changed(reader, alert, count=elsewhere)
    else:
        outbox.send(reader, alert)
    click(screen, alert.title)
    reader.wait_for_tab(alert.url)
    # What the worker did before, it had sent before this.
    last = make_alert(site, count_rate=1.0)
    outbox.send(reader, last)
    wait_until_shown(reader, last.title)
    reader.wait_for("heard.length > 0")
    assert reader.evaluate("heard") == [f"{site.service}/api/v1/alerts/{last.id}/shown"]

"""What the worker does by itself for years: the subscription renewed, and in the end stopped."""

from datetime import timedelta

import pytest
from browser import Browser
from firefox import Firefox
from notified import EVERYBODY, Outbox, make_alert, opt_in, wait_until_shown
from publisher import Site
from stored import SUBSCRIPTION, age, recall, remember, rows, set_gone, subscription

from notifier.db import Database
from notifier.models import Level, Subscription
from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.deployment import Deployment, wait_until
from notifier.rehearsal.push_service import PushService

pytestmark = [pytest.mark.browser, pytest.mark.service]

LONG = timedelta(seconds=30)
A_MONTH = timedelta(days=30, minutes=1)


def row_of(browser: Browser, service: Deployment) -> Subscription:
    endpoint = subscription(browser)["endpoint"]
    [found] = [row for row in rows(service).values() if row.endpoint == endpoint]
    return found


def choose_updates(
    browser: Browser, service: Deployment, row: Subscription, *, unseen_for: timedelta
) -> None:
    """As a reader who wants updates too, and has not been on the site for so long."""
    db = Database(service.settings.database)
    with db.write() as session:
        stored = session.get_one(Subscription, row.id)
        stored.last_seen_at -= unseen_for
        stored.level = Level.UPDATES
    db.close()
    kept = recall(browser, "optIn")
    remember(browser, "optIn", kept | {"choices": kept["choices"] | {"level": "updates"}})
    age(browser, "optIn", "recordedAt", unseen_for)


def test_a_browser_whose_reader_never_comes_says_that_it_is_there(
    reader: Browser, site: Site, service: Deployment, outbox: Outbox
) -> None:
    opt_in(reader, site, worker=EVERYBODY)
    before = row_of(reader, service)
    token = recall(reader, "optIn")["managementToken"]
    choose_updates(reader, service, before, unseen_for=A_MONTH)
    recorded_at = recall(reader, "optIn")["recordedAt"]

    outbox.send(reader, make_alert(site))
    wait_until(
        lambda: recall(reader, "optIn")["recordedAt"] > recorded_at, LONG, "it to be recorded again"
    )
    after = row_of(reader, service)
    assert after.last_seen_at >= before.last_seen_at
    assert (after.id, after.level) == (before.id, Level.UPDATES)
    assert recall(reader, "optIn")["managementToken"] == token

    recorded_at = recall(reader, "optIn")["recordedAt"]
    alert = make_alert(site)
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title)
    assert recall(reader, "optIn")["recordedAt"] == recorded_at


@pytest.mark.parametrize("reader", ["firefox"], indirect=True)
@pytest.mark.parametrize("token_is_known", [True, False])
def test_a_subscription_that_the_push_service_lost_is_made_again_for_the_same_reader(
    reader: Firefox,
    site: Site,
    service: Deployment,
    mozilla_push: PushService,
    outbox: Outbox,
    token_is_known: bool,
) -> None:
    opt_in(reader, site)
    before = row_of(reader, service)
    choose_updates(reader, service, before, unseen_for=timedelta(0))
    kept = recall(reader, "optIn")
    if not token_is_known:
        del kept["managementToken"]
        remember(reader, "optIn", kept)

    with PushServiceControl(mozilla_push.origin) as control:
        control.forget_browsers()
    wait_until(
        lambda: recall(reader, "optIn")["endpoint"] != before.endpoint, LONG, "a new endpoint"
    )
    after = row_of(reader, service)
    assert after.endpoint != before.endpoint
    assert (after.id, after.level) == (before.id, Level.UPDATES)
    assert (recall(reader, "optIn")["managementToken"] == kept.get("managementToken")) is (
        token_is_known
    )
    alert = make_alert(site)
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title)


def test_a_subscription_that_only_the_service_knows_to_be_gone_is_made_again(
    reader: Browser, site: Site, service: Deployment, outbox: Outbox
) -> None:
    page = opt_in(reader, site)
    before = row_of(reader, service)
    set_gone(service, before.id)
    age(reader, "optIn", "recordedAt", timedelta(days=2))

    reader.open(page)
    reader.wait_for(f"{SUBSCRIPTION}.then((found) => found?.endpoint !== '{before.endpoint}')")
    reader.evaluate("navigator.locks.request('notifier', () => true)")

    after = row_of(reader, service)
    assert (after.id, after.gone_at) == (before.id, None)
    assert after.endpoint == subscription(reader)["endpoint"] != before.endpoint
    alert = make_alert(site)
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title)


def test_the_kill_switch_ends_everything_until_the_worker_is_back(
    reader: Browser, site: Site, service: Deployment, outbox: Outbox
) -> None:
    page = opt_in(reader, site)
    row = row_of(reader, service)
    alert = make_alert(site)
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title)

    kill = site.worker.replace("notifier-worker", "notifier-kill-switch")
    site.put("/notifier/sw.js", kill, "text/javascript")
    registration = "navigator.serviceWorker.getRegistration('/notifier/')"
    reader.evaluate(f"{registration}.then((found) => found.update()).then(() => true)")
    reader.wait_for(f"{registration}.then((found) => found === undefined)")
    assert subscription(reader) is None

    site.put("/notifier/sw.js", site.worker, "text/javascript")
    open_and_renew(reader, page)
    again = row_of(reader, service)
    assert (again.id, again.level) == (row.id, row.level)
    outbox.send(reader, alert)
    wait_until_shown(reader, alert.title)


def open_and_renew(browser: Browser, page: str) -> None:
    """A visit on which the script finds that the subscription is gone, and makes it again."""
    browser.open(page)
    browser.wait_for("told.includes('ready')")
    browser.wait_for(
        "navigator.serviceWorker.getRegistration('/notifier/')"
        ".then((found) => found && found.pushManager.getSubscription())"
        ".then((found) => found !== null && found !== undefined)"
    )
    browser.evaluate("navigator.locks.request('notifier', () => true)")

"""A subscriber's later visits: staying subscribed, once, as the same reader; and leaving."""

import json
from datetime import timedelta

import pytest
from browser import Browser
from publisher import NONCE, Site
from publisher_page import IS_GONE, YES, open_prompt, open_without_prompt, say_yes
from push_sender import new_vapid, public_key
from stored import age, delete_row, forget_everything, recall, remember, rows, subscription

from notifier.keys import token_hash
from notifier.rehearsal.deployment import Deployment

pytestmark = [pytest.mark.browser, pytest.mark.service]

A_DAY_AGO = timedelta(days=1, minutes=1)

UNSUBSCRIBE = """navigator.serviceWorker.getRegistration("/notifier/")
  .then((found) => found.pushManager.getSubscription())
  .then((subscription) => subscription.unsubscribe())"""

# As the script of another service, whose worker controls the whole site.
SUBSCRIBE_WITH_ANOTHER = """(async () => {
  await navigator.serviceWorker.register("/sw.js");
  const registration = await navigator.serviceWorker.ready;
  const made = await registration.pushManager.subscribe(
    { userVisibleOnly: true, applicationServerKey: "%s" });
  return made.toJSON();
})()"""


def row_of(browser: Browser, service: Deployment) -> int:
    """The id under which the service knows the browser's subscription."""
    endpoint = subscription(browser)["endpoint"]
    [found] = [row.id for row in rows(service).values() if row.endpoint == endpoint]
    return found


def visit_and_renew(browser: Browser, url: str) -> None:
    """A visit on which the script has something to tell the service, and has told it."""
    browser.open(url)
    browser.wait_for("told.includes('ready')")
    # What holds the lock has told it.
    browser.wait_for(
        "performance.getEntriesByType('resource').some("
        "(entry) => entry.name.endsWith('/api/v1/subscriptions'))"
    )
    browser.evaluate("navigator.locks.request('notifier', () => true)")


@pytest.mark.parametrize(
    ("of_page", "recorded"), [("pt_BR", "pt-BR"), ("Español (España)", "en-US")]
)
def test_a_page_that_names_its_language_wrongly_subscribes(
    reader: Browser, site: Site, of_page: str, recorded: str
) -> None:
    say_yes(reader, site.put_page(language=of_page))
    assert recall(reader, "optIn")["choices"]["language"] == recorded


def test_nothing_is_renewed_twice_a_day(reader: Browser, site: Site, service: Deployment) -> None:
    page = site.put_page()
    say_yes(reader, page)
    row = row_of(reader, service)
    recorded = recall(reader, "optIn")["recordedAt"]

    open_without_prompt(reader, page)
    assert recall(reader, "optIn")["recordedAt"] == recorded

    age(reader, "optIn", "recordedAt", A_DAY_AGO)
    token = recall(reader, "optIn")["managementToken"]
    visit_and_renew(reader, page)
    assert recall(reader, "optIn")["recordedAt"] > recorded
    assert recall(reader, "optIn")["managementToken"] == token
    assert row_of(reader, service) == row
    assert reader.evaluate("warnings") == []


def test_a_subscription_that_the_browser_lost_is_made_again_for_the_same_reader(
    reader: Browser, site: Site, service: Deployment
) -> None:
    page = site.put_page()
    say_yes(reader, page)
    before = rows(service)
    row = row_of(reader, service)
    lost = subscription(reader)["endpoint"]
    choose(reader, level="biggest")
    reader.evaluate(UNSUBSCRIBE)

    visit_and_renew(reader, page)
    assert reader.evaluate(IS_GONE)
    assert subscription(reader)["endpoint"] != lost
    assert row_of(reader, service) == row
    assert rows(service).keys() == before.keys()
    assert rows(service)[row].level == 1


def choose(browser: Browser, **choices: object) -> None:
    """As the reader's preferences do: tells the service, and remembers."""
    kept = recall(browser, "optIn")
    body = {"management_token": kept["managementToken"], **choices}
    browser.evaluate(
        f"fetch('{kept['service']}/api/v1/subscriptions', {{ method: 'PATCH', headers: "
        f"{{ 'Content-Type': 'application/json' }}, body: {json.dumps(json.dumps(body))} }})"
        ".then((answer) => answer.status)"
    )
    kept["choices"] |= choices
    remember(browser, "optIn", kept)


def test_a_new_key_of_the_service_makes_a_new_subscription_for_the_same_reader(
    reader: Browser, site: Site, service: Deployment
) -> None:
    page = site.put_page()
    say_yes(reader, page)
    row = row_of(reader, service)
    # As one that was made with the service's key of then.
    reader.evaluate(UNSUBSCRIBE)
    options = json.dumps({"userVisibleOnly": True, "applicationServerKey": public_key(new_vapid())})
    old = reader.evaluate(
        "navigator.serviceWorker.getRegistration('/notifier/')"
        f".then((found) => found.pushManager.subscribe({options}))"
    )
    kept = recall(reader, "optIn")
    remember(reader, "optIn", kept | {"endpoint": old["endpoint"]})
    age(reader, "optIn", "recordedAt", A_DAY_AGO)

    visit_and_renew(reader, page)
    assert subscription(reader)["endpoint"] != old["endpoint"]
    assert row_of(reader, service) == row
    assert recall(reader, "optIn")["vapidPublicKey"] == kept["vapidPublicKey"]


def test_a_row_that_the_service_lost_is_rebuilt_with_the_readers_choices(
    reader: Browser, site: Site, service: Deployment
) -> None:
    page = site.put_page()
    say_yes(reader, page)
    choose(reader, level="updates", sections=["sport"])
    delete_row(service, row_of(reader, service))
    age(reader, "optIn", "recordedAt", A_DAY_AGO)

    visit_and_renew(reader, page)
    row = rows(service)[row_of(reader, service)]
    assert row.level == 3
    assert row.sections != 0
    assert row.owed is None
    assert recall(reader, "optIn")["choices"]["sections"] == ["sport"]


def test_a_welcome_is_owed_only_to_who_has_just_said_yes(
    reader: Browser, site: Site, service: Deployment
) -> None:
    site_page = site.put_page(
        head=f"""<script nonce="{NONCE}">
          window.bodies = []; const fetching = window.fetch;
          window.fetch = (address, how) => (how?.body && bodies.push(JSON.parse(how.body)),
                                            fetching(address, how));
        </script>"""
    )
    say_yes(reader, site_page)
    assert reader.evaluate("bodies.map((body) => body.welcome)") == [True]
    age(reader, "optIn", "recordedAt", A_DAY_AGO)
    visit_and_renew(reader, site_page)
    assert reader.evaluate("bodies.map((body) => 'welcome' in body)") == [False]


def test_two_tabs_are_one_reader(reader: Browser, site: Site, service: Deployment) -> None:
    together = f"""<script nonce="{NONCE}">
      const tabs = new BroadcastChannel("tabs");
      addEventListener("load", () => tabs.postMessage("here"));
      tabs.onmessage = async ({{ data }}) => {{
        if (data !== "go") return;
        await notifier.start();
        const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
        tabs.postMessage(loaded.some((name) => name.endsWith("/subscriptions")) ? "told" : "done");
      }};
    </script>"""
    say_yes(reader, site.put_page())
    row = row_of(reader, service)
    before = rows(service)
    forget_everything(reader)

    page = site.put_page("/tab", head=together, attributes='data-wait-for="both"')
    reader.open(site.put_page("/waiting", script=""))
    reader.evaluate(
        "void (window.heard = [], window.tabs = new BroadcastChannel('tabs'),"
        " tabs.onmessage = ({ data }) => heard.push(data))"
    )
    for _ in range(2):
        reader.open_beside(page)
    reader.wait_for("heard.length === 2")
    reader.evaluate("tabs.postMessage('go')")
    reader.wait_for("heard.length === 4")
    assert sorted(reader.evaluate("heard")) == ["done", "here", "here", "told"]
    assert rows(service).keys() == before.keys()
    assert row_of(reader, service) == row
    # The token that is remembered is the one that counts.
    token = recall(reader, "optIn")["managementToken"]
    assert rows(service)[row].management_token_hash == token_hash(token)


def test_a_reader_who_left_is_never_subscribed_again_unasked(
    reader: Browser, site: Site, service: Deployment
) -> None:
    page = site.put_page(attributes='data-adopt="true"')
    say_yes(reader, page)
    row = row_of(reader, service)
    assert reader.evaluate("notifier.unsubscribe()") == "unsubscribed"
    assert subscription(reader) is None
    assert row not in rows(service)
    assert "unsubscribed" in reader.evaluate("told")
    left = rows(service).keys()

    open_without_prompt(reader, page)
    assert reader.evaluate("Notification.permission") == "granted"
    assert subscription(reader) is None
    assert rows(service).keys() == left


def test_readers_of_another_service_are_taken_over_without_asking(
    reader: Browser, site: Site, service: Deployment
) -> None:
    site.put("/sw.js", "addEventListener('push', () => {});", "text/javascript")
    reader.open(site.put_page("/before", script="", policy="", body="<button id=ask>Ask</button>"))
    reader.evaluate("void (ask.onclick = () => Notification.requestPermission())")
    reader.answer_permission("granted")
    reader.click("#ask")
    reader.wait_for("Notification.permission === 'granted'")
    theirs = reader.evaluate(SUBSCRIBE_WITH_ANOTHER % public_key(new_vapid()))
    before = rows(service)

    # Unless the publisher wants it, nothing happens without a yes.
    open_prompt(reader, site.put_page())
    assert rows(service).keys() == before.keys()

    visit_and_renew(reader, site.put_page(attributes='data-adopt="true"'))
    assert reader.evaluate(IS_GONE)
    [row] = rows(service).keys() - before.keys()
    assert row == row_of(reader, service)
    assert rows(service)[row].owed is None
    # The other one's subscription is left to it, under a worker that still controls the site.
    assert subscription(reader)["endpoint"] != theirs["endpoint"]
    assert reader.evaluate(
        "navigator.serviceWorker.getRegistrations().then((all) => all.map((one) => one.scope))"
    ) == [f"{site.origin}/", f"{site.origin}/notifier/"]


def test_it_stands_beside_a_service_worker_of_the_sites_own(
    reader: Browser, site: Site, service: Deployment
) -> None:
    answering = """addEventListener("activate", (event) => event.waitUntil(clients.claim()));
      addEventListener("fetch", (event) => {
        if (event.request.url.endsWith("/by-worker")) event.respondWith(new Response("by worker"));
      });"""
    site.put("/sw.js", answering, "text/javascript")
    reader.open(site.put_page("/before", script="", policy=""))
    reader.evaluate("navigator.serviceWorker.register('/sw.js').then(() => null)")
    reader.wait_for("navigator.serviceWorker.controller !== null")

    say_yes(reader, site.put_page(policy=site.policy.replace("connect-src", "connect-src 'self'")))
    assert reader.evaluate("navigator.serviceWorker.controller.scriptURL") == f"{site.origin}/sw.js"
    assert reader.evaluate("fetch('/by-worker').then((answer) => answer.text())") == "by worker"
    assert row_of(reader, service)


def test_an_opt_in_that_the_service_did_not_hear_of_is_told_on_the_next_visit(
    reader: Browser, site: Site, service: Deployment
) -> None:
    failing = f"""<script nonce="{NONCE}">
      const fetching = window.fetch;
      window.fetch = (address, how) =>
        how?.body ? Promise.reject(new TypeError("offline")) : fetching(address, how);
    </script>"""
    before = rows(service)
    open_prompt(reader, site.put_page(head=failing))
    reader.answer_permission("granted")
    reader.click(YES)
    reader.wait_for(
        "document.querySelector('notifier-prompt').shadowRoot.textContent"
        ".includes('That did not work yet')"
    )
    assert rows(service).keys() == before.keys()

    visit_and_renew(reader, site.put_page())
    assert reader.evaluate(IS_GONE)
    assert rows(service).keys() - before.keys() == {row_of(reader, service)}

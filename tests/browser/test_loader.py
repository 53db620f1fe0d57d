"""The script on the page: how it may be embedded, what it waits for, and what it tells whom."""

import re

import pytest
import requests
from browser import Browser
from publisher import NONCE, Site
from publisher_page import IS_GONE, IS_SHOWN, YES, loaded, open_prompt, open_without_prompt, settle

from notifier.rehearsal.deployment import Deployment, free_port

pytestmark = [pytest.mark.browser, pytest.mark.service]

PROMPT_LOADS = {"/reader.js", "/reader/prompt.js", "/reader/ui.js", "/reader/languages/en.js"}
PROMPTS = "document.querySelectorAll('notifier-prompt').length"


def warned(browser: Browser) -> str:
    return "\n".join(browser.evaluate("warnings"))


def test_the_prompt_loads_itself_and_one_language(reader: Browser, site: Site) -> None:
    open_prompt(reader, site.put_page())
    assert set(loaded(reader)) == PROMPT_LOADS
    assert reader.evaluate("document.cookie + localStorage.length + sessionStorage.length") == "00"


def test_a_page_that_does_not_ask_loads_nothing_more(reader: Browser, site: Site) -> None:
    open_without_prompt(reader, site.put_page(attributes='data-prompt="button"'))


def test_it_runs_once_however_often_it_is_there(reader: Browser, site: Site) -> None:
    twice = f'<script nonce="{NONCE}" src="{site.service}/reader.js" defer></script>' * 2
    open_prompt(reader, site.put_page(script=twice))
    settle(reader)
    assert reader.evaluate(PROMPTS) == 1
    assert reader.evaluate("told") == ["ready", "prompted"]


def test_a_tag_manager_may_put_it_in_late(reader: Browser, site: Site) -> None:
    late = f"""<script>
      addEventListener("load", () => setTimeout(() => {{
        const script = document.createElement("script");
        script.src = "{site.service}/reader.js";
        script.async = true;
        document.head.append(script);
      }}));
    </script>"""
    open_prompt(reader, site.put_page(script=late, policy=""))
    assert reader.evaluate(PROMPTS) == 1


def combine(site: Site, service: Deployment) -> str:
    """Has the site serve our script among others, as optimisers do; gives its path."""
    site.put("/cache/all.js", f"window.other = true;\n{script_of(service)}", "text/javascript")
    return "/cache/all.js"


def script_of(service: Deployment) -> str:
    return requests.get(f"{service.settings.base_url}/reader.js", timeout=10).text


def test_combined_with_others_it_is_told_where_the_service_is(
    reader: Browser, site: Site, service: Deployment
) -> None:
    path = combine(site, service)
    settings = f'window.notifierSettings = {{ service: "{site.service}", prompt: "button" }};'
    script = (
        f'<script nonce="{NONCE}">{settings}</script><script nonce="{NONCE}" src="{path}"></script>'
    )
    reader.open(site.put_page(script=script, body="<button data-notifier=prompt>Alerts</button>"))
    reader.click("[data-notifier=prompt]")
    reader.wait_for(IS_SHOWN)


def test_inlined_it_finds_the_service_by_the_element_that_was_left(
    reader: Browser, site: Site, service: Deployment
) -> None:
    script = (
        f'<script type="text/plain" src="{site.service}/reader.js"></script>'
        f'<script nonce="{NONCE}">{script_of(service)}</script>'
    )
    open_prompt(reader, site.put_page(script=script))


def test_without_the_services_address_it_says_so_once(
    reader: Browser, site: Site, service: Deployment
) -> None:
    path = combine(site, service)
    reader.open(site.put_page(script=f'<script nonce="{NONCE}" src="{path}"></script>'))
    assert reader.evaluate("warnings.length") == 1
    assert "window.notifierSettings = { service:" in warned(reader)
    assert reader.evaluate("typeof notifier") == "undefined"


def test_in_a_frame_it_does_nothing(reader: Browser, site: Site) -> None:
    inner = site.put_page("/inner", policy="")
    frame = f'<iframe src="{inner}"></iframe>'
    reader.open(site.put_page("/outer", script="", body=frame, policy=""))
    reader.wait_for("frames[0].document.readyState === 'complete'")
    assert reader.evaluate("frames[0].told") == []
    assert reader.evaluate("typeof frames[0].notifier") == "undefined"
    assert reader.evaluate("frames[0].document.querySelector('notifier-prompt')") is None


@pytest.mark.parametrize(
    "consent",
    [
        "document.dispatchEvent(new Event('consent-given'))",
        "window.dispatchEvent(new Event('consent-given'))",
        "void notifier.start()",
    ],
)
def test_until_consent_it_does_nothing_and_stores_nothing(
    reader: Browser, site: Site, consent: str
) -> None:
    button = "<a href='#alerts' data-notifier=prompt>Alerts</a>"
    reader.open(site.put_page(attributes='data-wait-for="consent-given"', body=button))
    reader.click("[data-notifier=prompt]")
    reader.wait_for("warnings.length === 1")
    assert reader.evaluate("location.hash") == "#alerts", "without it a link is only a link"
    assert "waits for the event consent-given" in warned(reader)
    assert reader.evaluate("indexedDB.databases()") == []
    assert reader.evaluate("told") == []
    assert loaded(reader) == ["/reader.js"]

    reader.evaluate(consent)
    reader.wait_for(IS_SHOWN)


def test_the_page_can_ask_how_it_stands(reader: Browser, site: Site) -> None:
    open_prompt(reader, site.put_page())
    assert reader.evaluate("notifier.status()") == "unsubscribed"
    reader.answer_permission("denied")
    reader.click(YES)
    reader.wait_for("told.includes('denied')")
    assert reader.evaluate("notifier.status()") == "denied"


def test_without_push_nobody_is_asked_and_who_asks_is_told_what_to_try(
    reader: Browser, site: Site
) -> None:
    without = f'<script nonce="{NONCE}">delete window.PushManager;</script>'
    button = "<button data-notifier=prompt>Alerts</button>"
    open_without_prompt(reader, site.put_page(head=without, body=button))
    assert reader.evaluate("notifier.status()") == "unsupported"
    reader.click("[data-notifier=prompt]")
    panel = "document.querySelector('notifier-panel')?.shadowRoot.textContent"
    reader.wait_for(f"{panel}?.includes('Try a current Chrome, Edge, Firefox or Safari')")


def test_landing_from_safaris_own_notification_counts_the_click(
    reader: Browser, site: Site
) -> None:
    watch = (
        "window.sent = []; const fetching = window.fetch;"
        "window.fetch = (...sending) => (sent.push(sending), fetching(...sending));"
    )
    counts = "sent.filter(([url]) => url.includes('/alerts/'))"
    page = site.put_page(head=f'<script nonce="{NONCE}">{watch}</script>')
    open_prompt(reader, f"{page}?from=alert#notifier-alert=11,0")  # where no share is counted
    reader.wait_for(f"location.href === '{page}?from=alert'")
    assert reader.evaluate(counts) == []
    open_prompt(reader, f"{page}?from=again#notifier-alert=12,1")
    reader.wait_for(f"location.href === '{page}?from=again'")
    [[address, request]] = reader.evaluate(counts)
    assert address == f"{site.service}/api/v1/alerts/12/clicked"
    assert request["method"] == "POST"
    assert request["keepalive"] is True
    assert "body" not in request


# ---- What is missing, in the console ---------------------------------------------------------


def accept(browser: Browser) -> None:
    browser.answer_permission("granted")
    browser.click(YES)
    browser.wait_for("warnings.length === 1")


def test_it_says_that_the_sites_worker_is_not_there(reader: Browser, site: Site) -> None:
    del site.files["/notifier/sw.js"]
    open_prompt(reader, site.put_page(policy=""))
    accept(reader)
    assert f"{site.origin}/notifier/sw.js answers 404: put the file there" in warned(reader)
    assert site.bare_worker in warned(reader)


def test_it_says_that_the_sites_worker_has_the_wrong_type(reader: Browser, site: Site) -> None:
    site.put("/notifier/sw.js", site.worker, "text/html")
    open_prompt(reader, site.put_page(policy=""))
    accept(reader)
    assert "/notifier/sw.js comes as text/html: send text/javascript" in warned(reader)


def test_under_the_strict_policy_it_says_all_that_may_be_wrong_with_the_worker(
    reader: Browser, site: Site
) -> None:
    del site.files["/notifier/sw.js"]
    open_prompt(reader, site.put_page())
    accept(reader)
    assert "It must answer 200 with the type text/javascript" in warned(reader)


def test_it_says_that_the_service_does_not_allow_this_site(reader: Browser, site: Site) -> None:
    # The same site by another name, which ALLOWED_ORIGINS does not list.
    site.put_page()
    stranger = site.origin.replace("http://site", "http://unknown.site")
    reader.open(f"{stranger}/")
    reader.wait_for("warnings.length === 1")
    assert f"add {stranger} to its ALLOWED_ORIGINS" in warned(reader)


def test_it_says_that_the_service_cannot_be_reached(reader: Browser, site: Site) -> None:
    nowhere = f"http://localhost:{free_port()}"
    text = f'window.notifierSettings = {{ service: "{nowhere}" }};'
    reader.open(site.put_page(head=f'<script nonce="{NONCE}">{text}</script>', policy=""))
    reader.wait_for("warnings.length === 1")
    assert re.search(rf"{nowhere} cannot be reached", warned(reader))


def test_it_says_that_the_pages_policy_forbids_the_service(reader: Browser, site: Site) -> None:
    policy = site.policy.replace(f"connect-src {site.service}", "connect-src 'none'")
    reader.open(site.put_page(policy=policy))
    reader.wait_for("warnings.length === 1")
    assert f"Content-Security-Policy must allow {site.service} in connect-src" in warned(reader)
    assert reader.evaluate(IS_GONE)

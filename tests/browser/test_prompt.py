"""The soft prompt: when it asks, what it answers, and how it looks and reads."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from axe import serious_problems
from browser import Browser
from chromium import Chromium
from publisher import NONCE, Site
from publisher_page import (
    CARD,
    CLOSE,
    IS_GONE,
    IS_SHOWN,
    IS_STILL,
    NO,
    YES,
    loaded,
    open_prompt,
    open_without_prompt,
    say_yes,
    settle,
)
from stored import age, forget_everything, recall, remember, rows, subscription

from notifier.rehearsal.deployment import Deployment

pytestmark = [pytest.mark.browser, pytest.mark.service]

LANGUAGES = ["en", "fr", "es", "pt", "de", "ar", "ha", "sw"]
SAMPLES = {
    "fr": "Recevez les notifications de The Hill Valley Telegraph",
    "pt-BR": "Receba notificações de The Hill Valley Telegraph",
    "ha": "Ku samu sanarwa daga The Hill Valley Telegraph",
    "it": "Get Notifications from The Hill Valley Telegraph",
}


def block(browser: Browser) -> None:
    """The reader answers the prompt with yes, and the browser's own question with no."""
    browser.answer_permission("denied")
    browser.click(YES)
    browser.wait_for("told.includes('denied')")


def test_yes_subscribes_and_says_so(reader: Browser, site: Site, service: Deployment) -> None:
    before = rows(service)
    open_prompt(reader, site.put_page())
    assert "Get Notifications from The Hill Valley Telegraph" in reader.text()
    reader.answer_permission("granted")
    reader.click(YES)
    reader.wait_for(f"{CARD}.textContent.includes('You will get breaking news')")

    assert reader.evaluate("told") == ["ready", "prompted", "accepted", "subscribed"]
    [row] = rows(service).keys() - before.keys()
    assert rows(service)[row].endpoint == subscription(reader)["endpoint"]
    reader.click(CLOSE)
    reader.wait_for(IS_GONE)

    open_without_prompt(reader, site.origin)


def test_no_is_remembered_and_asked_again_after_growing_pauses_three_times_in_all(
    reader: Browser, site: Site, service: Deployment
) -> None:
    before = len(rows(service))
    page = site.put_page()
    for pause in (timedelta(days=7), timedelta(days=30)):
        open_prompt(reader, page)
        reader.click(NO)
        reader.wait_for("told.includes('declined')")
        assert reader.evaluate(IS_GONE)

        age(reader, "declined", "at", pause - timedelta(hours=1))
        open_without_prompt(reader, page)
        age(reader, "declined", "at", timedelta(hours=2))

    open_prompt(reader, page)
    reader.click(NO)
    reader.wait_for("told.includes('declined')")
    age(reader, "declined", "at", timedelta(days=4000))
    open_without_prompt(reader, page)
    assert reader.evaluate("Notification.permission") == "default"
    assert len(rows(service)) == before


def test_escape_is_a_no_unless_the_reader_is_typing(reader: Browser, site: Site) -> None:
    open_prompt(reader, site.put_page(body="<input id=name>"))
    press = "dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))"
    reader.evaluate(f"document.querySelector('#name').{press}")
    assert reader.evaluate(IS_SHOWN)
    reader.evaluate(f"document.body.{press}")
    reader.wait_for("told.includes('declined')")
    assert reader.evaluate(IS_GONE)


def test_a_reader_who_blocks_learns_how_to_unblock_and_is_not_asked_again(
    reader: Browser, site: Site, service: Deployment
) -> None:
    before = len(rows(service))
    page = site.put_page(body="<button data-notifier=prompt>Get alerts</button>")
    open_prompt(reader, page)
    block(reader)
    help_to_unblock = "crossed-out icon" if reader.name == "Firefox" else "left of the address"
    reader.wait_for(f"{CARD}.textContent.includes('{help_to_unblock}')")
    assert len(rows(service)) == before

    open_without_prompt(reader, page)
    # Help comes when the reader asks for it.
    reader.click("[data-notifier=prompt]")
    reader.wait_for(IS_SHOWN)
    reader.wait_for(f"{CARD}.textContent.includes('{help_to_unblock}')")


def test_a_question_that_the_reader_dismisses_counts_as_a_no(reader: Browser, site: Site) -> None:
    # As browsers answer whose question can be closed; the real ones: test_browsers_question.py.
    dismissing = "Notification.requestPermission = async () => 'default';"
    page = site.put_page(head=f"<script nonce={NONCE}>{dismissing}</script>")
    open_prompt(reader, page)
    reader.click(YES)
    reader.wait_for("told.includes('declined')")
    reader.wait_for(f"{CARD}.textContent.includes('Maybe another time')")
    open_without_prompt(reader, page)


def test_a_question_that_waits_in_the_address_bar_is_pointed_to(
    reader: Browser, site: Site
) -> None:
    # As browsers' quiet questions: they answer when the reader finds them.
    waiting = "Notification.requestPermission = () => new Promise((r) => { window.answer = r; });"
    open_prompt(reader, site.put_page(head=f"<script nonce={NONCE}>{waiting}</script>"))
    reader.click(YES)
    assert "click the bell" not in reader.text()
    reader.wait_for(f"{CARD}.textContent.includes('click the bell')")
    reader.evaluate("answer('denied')")
    reader.wait_for(f"{CARD}.textContent.includes('blocked')")


def test_a_push_service_that_does_not_answer_can_be_waited_for_unseen(
    reader: Browser, site: Site
) -> None:
    hanging = (
        "const subscribe = PushManager.prototype.subscribe; PushManager.prototype.subscribe = "
        "async function (how) { await new Promise((r) => { window.goOn = r; });"
        " return subscribe.call(this, how); };"
    )
    open_prompt(reader, site.put_page(head=f"<script nonce={NONCE}>{hanging}</script>"))
    reader.answer_permission("granted")
    reader.click(YES)
    reader.wait_for("window.goOn !== undefined")
    reader.click(CLOSE)
    reader.wait_for(IS_GONE)
    reader.evaluate("goOn()")
    reader.wait_for(f"{IS_SHOWN} && {CARD}.textContent.includes('You are all set')")


def test_a_network_that_hangs_is_given_up(reader: Browser, site: Site) -> None:
    hanging = (
        "const giveUp = new AbortController(); AbortSignal.timeout = () => giveUp.signal;"
        " window.patienceEnds = () => giveUp.abort(); const asked = window.fetch;"
        " window.fetch = (url, how) => how?.method !== 'POST' ? asked(url, how) :"
        " new Promise((_, fail) => { window.hangs = true;"
        " how.signal?.addEventListener('abort', () => fail(how.signal.reason)); });"
    )
    open_prompt(reader, site.put_page(head=f"<script nonce={NONCE}>{hanging}</script>"))
    reader.answer_permission("granted")
    reader.click(YES)
    reader.wait_for("window.hangs")
    reader.evaluate("patienceEnds()")
    reader.wait_for(f"{CARD}.textContent.includes('That did not work yet')")


def test_asked_again_meanwhile_it_answers_once(reader: Browser, site: Site) -> None:
    waiting = (
        "window.answers = []; Notification.requestPermission = "
        "() => new Promise((answer) => answers.push(answer));"
    )
    button = "<button data-notifier=prompt>Get alerts</button>"
    page = site.put_page(head=f"<script nonce={NONCE}>{waiting}</script>", body=button)
    open_prompt(reader, page)
    reader.click(YES)
    reader.click("[data-notifier=prompt]")
    reader.click(YES)
    reader.evaluate("answers.forEach((answer) => answer('denied'))")
    reader.wait_for(f"{CARD}.textContent.includes('blocked')")
    assert reader.evaluate("document.querySelectorAll('notifier-prompt').length") == 1


def test_all_conditions_of_the_publisher_must_hold(reader: Browser, site: Site) -> None:
    conditions = 'data-views="2" data-scroll="40"'
    page = site.put_page(attributes=conditions, body="<p>More.</p>" * 200)
    scroll_to = "scrollTo(0, (document.documentElement.scrollHeight - innerHeight) * {})"
    open_without_prompt(reader, page)
    reader.evaluate(scroll_to.format(0.5))
    settle(reader)
    assert reader.evaluate(IS_GONE)

    open_without_prompt(reader, f"{page}?second")
    reader.evaluate(scroll_to.format(0.3))
    settle(reader)
    assert reader.evaluate(IS_GONE)
    reader.evaluate(scroll_to.format(0.5))
    reader.wait_for(IS_SHOWN)


def test_the_second_page_view_asks_where_the_publisher_wants_it(
    reader: Browser, site: Site
) -> None:
    page = site.put_page(attributes='data-views="2"')
    open_without_prompt(reader, page)
    open_prompt(reader, f"{page}?again")


def test_views_of_single_page_apps_count(reader: Browser, site: Site) -> None:
    open_without_prompt(reader, site.put_page(attributes='data-views="3"'))
    reader.evaluate("history.pushState(null, '', '/second')")
    # The same page under another fragment is no further view.
    reader.evaluate("history.pushState(null, '', '/second#more')")
    settle(reader)
    assert recall(reader, "views") == 2
    assert reader.evaluate(IS_GONE)
    reader.evaluate("history.go(-2)")
    reader.wait_for(IS_SHOWN)


def test_it_waits_for_its_delay(reader: Browser, site: Site) -> None:
    page = site.put_page(attributes='data-delay="3600"')
    open_without_prompt(reader, page)
    began = "performance.timeOrigin + performance.now()"
    page = site.put_page("/soon", attributes='data-delay="1.5"')
    reader.open(page)
    reader.evaluate(f"document.addEventListener('notifier:prompted', () => {{ at = {began}; }})")
    reader.wait_for(IS_SHOWN)
    assert reader.evaluate("at - performance.timeOrigin") >= 1500


def test_it_never_asks_by_itself_where_only_a_button_may(reader: Browser, site: Site) -> None:
    button = "<a href=/elsewhere data-notifier=prompt>Get alerts</a>"
    open_without_prompt(reader, site.put_page(attributes='data-prompt="button"', body=button))
    reader.click("[data-notifier=prompt]")
    reader.wait_for(IS_SHOWN)
    assert reader.evaluate("location.pathname") == "/"
    # Who has asked for it finds it under the keyboard.
    assert reader.evaluate(f"document.activeElement.shadowRoot.activeElement === {CARD}")


def test_a_button_of_the_publisher_can_raise_the_browsers_question_at_once(
    reader: Browser, site: Site
) -> None:
    button = "<button data-notifier=subscribe>Get alerts</button>"
    open_without_prompt(reader, site.put_page(attributes='data-prompt="button"', body=button))
    reader.answer_permission("granted")
    reader.click("[data-notifier=subscribe]")
    reader.wait_for("told.includes('subscribed')")


def test_a_browser_that_is_still_subscribed_is_not_asked_though_storage_was_lost(
    reader: Browser, site: Site, service: Deployment
) -> None:
    page = site.put_page()
    say_yes(reader, page)
    before = rows(service)
    forget_everything(reader)

    reader.open(page)
    reader.wait_for("told.includes('ready')")
    reader.wait_for("notifier.status().then((status) => status === 'subscribed')")
    assert reader.evaluate(IS_GONE)
    assert "/reader/prompt.js" not in loaded(reader)
    assert rows(service).keys() == before.keys()


@pytest.mark.parametrize("language", SAMPLES)
def test_it_speaks_the_pages_language(reader: Browser, site: Site, language: str) -> None:
    open_prompt(reader, site.put_page(language=language))
    assert SAMPLES[language] in reader.text()


def test_the_readers_own_language_goes_first_and_the_publishers_words_before_ours(
    reader: Browser, site: Site
) -> None:
    words = {"accept": "Count me in", "de": {"decline": "Lieber nicht"}}
    settings = f"window.notifierSettings = {{ texts: {json.dumps(words)} }};"
    page = site.put_page(head=f"<script nonce={NONCE}>{settings}</script>")
    open_prompt(reader, page)
    assert "Count me in" in reader.text()
    assert "No thanks" in reader.text()

    remember(reader, "language", "de")
    open_prompt(reader, page)
    assert "Mitteilungen von The Hill Valley Telegraph erhalten" in reader.text()
    assert "Lieber nicht" in reader.text()


def test_every_language_has_every_text(reader: Browser, service: Deployment) -> None:
    reader.open(service.settings.base_url)
    for part in ("", "unblock/"):
        modules = [f"import('/reader/languages/{part}{code}.js')" for code in LANGUAGES]
        keys = reader.evaluate(
            f"Promise.all([{','.join(modules)}])"
            ".then((all) => all.map((one) => Object.keys(one.default)))"
        )
        assert all(found == keys[0] for found in keys)
        texts = reader.evaluate(
            f"Promise.all([{','.join(modules)}])"
            ".then((all) => all.flatMap((one) => Object.values(one.default)))"
        )
        assert all(texts)


def test_right_to_left_it_stands_on_the_other_side(
    reader: Browser, site: Site, tmp_path: Path
) -> None:
    reader.screenshot(tmp_path / "wide.png", 1200, 700)
    open_prompt(reader, site.put_page(language="ar"))
    assert "تلقَّ إشعارات The Hill Valley Telegraph" in reader.text()
    assert reader.evaluate(f"getComputedStyle({CARD}).direction") == "rtl"
    assert reader.evaluate(f"{CARD}.getBoundingClientRect().right") < 600
    open_prompt(reader, site.put_page("/english"))
    assert reader.evaluate(f"{CARD}.getBoundingClientRect().left") > 600


def test_a_small_screen_at_twice_the_size_loses_nothing(
    reader: Browser, site: Site, tmp_path: Path
) -> None:
    reader.screenshot(tmp_path / "small.png", 320, 256)
    open_prompt(reader, site.put_page(language="fr"))
    reader.wait_for(IS_STILL)
    card = reader.evaluate(f"{CARD}.getBoundingClientRect().toJSON()")
    assert card["left"] >= 0
    assert card["right"] <= 320
    assert card["top"] >= 0
    assert card["bottom"] <= 256
    assert reader.evaluate(f"{CARD}.scrollWidth <= {CARD}.clientWidth")
    reader.click(NO)
    reader.wait_for("told.includes('declined')")


@pytest.mark.parametrize("reader", ["chromium"], indirect=True)  # which alone measures it
def test_nothing_on_the_page_jumps(reader: Browser, site: Site) -> None:
    watch = (
        "window.shifts = []; new PerformanceObserver((list) => shifts.push(...list.getEntries()))"
        ".observe({ type: 'layout-shift', buffered: true });"
    )
    page = site.put_page(head=f"<script nonce={NONCE}>{watch}</script>", body="<p>More.</p>" * 40)
    say_yes(reader, page)
    reader.click(CLOSE)
    reader.wait_for(IS_GONE)
    reader.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")
    assert reader.evaluate("shifts.map((shift) => shift.toJSON())") == []


@pytest.mark.parametrize("reader", ["chromium"], indirect=True)  # which can be told so
@pytest.mark.parametrize("still", [False, True])
def test_it_moves_only_for_readers_who_do_not_mind(
    reader: Chromium, site: Site, still: bool
) -> None:
    reader.prefer_stillness(still)
    open_prompt(reader, site.put_page())
    assert reader.evaluate(f"getComputedStyle({CARD}).animationName") == (
        "none" if still else "rise"
    )
    reader.prefer_stillness(False)


@pytest.mark.parametrize("reader", ["chromium"], indirect=True)  # which can be told the scheme
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anybody(
    reader: Chromium, site: Site, service: Deployment, scheme: str
) -> None:
    reader.prefer(scheme)
    for page in (service.settings.base_url, site.put_page(language="ar")):
        open_prompt(reader, page)
        reader.wait_for(IS_STILL)
        assert serious_problems(reader) == []
    reader.click(YES)
    reader.wait_for("told.includes('accepted')")
    assert serious_problems(reader) == []

"""Examines a publisher's site from outside: what does a reader's browser find there?"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urljoin, urlsplit

from notifier.doctor.csp import Policy, all_allow
from notifier.doctor.fetching import Answer, Fetcher, is_http_address, origin_of
from notifier.doctor.finding import Finding, missing, there, unseen
from notifier.doctor.page import Page, ScriptTag, read_page
from notifier.embed import import_line
from notifier.errors import InvalidInput

SCOPE = "/notifier/"
_WORKER = "/notifier/sw.js"
_IMPORT = re.compile(r"""importScripts\(\s*["'`]([^"'`]*/notifier-[a-z-]+\.js)[^"'`]*["'`]""")
_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_STANDALONE = ("standalone", "fullscreen")


def examine_site(url: str, service: str) -> Iterator[Finding]:
    """Look at the page and the files beside it, for the service at this origin.

    Raises InvalidInput when `url` is no http address.
    """
    if not is_http_address(url):
        raise InvalidInput(f"{url!r} is not the address of a page, such as https://www.example.com")
    with closing(Fetcher()) as fetcher:
        answer = fetcher.get(url, Accept="text/html,*/*;q=0.8")
        yield from _reachable(url, answer)
        if isinstance(answer, str) or answer.status != 200:
            return
        page = read_page(answer.text, answer.url)
        policies = answer.policies + [Policy.parse(text, answer.origin) for text in page.policies]
        yield _encrypted(answer)
        yield from _script(page, service, policies)
        yield from _service(fetcher, service, answer.origin)
        yield from _worker(fetcher, service, answer.origin)
        yield from _page_policy(policies, service, answer.origin)
        yield from _manifest(fetcher, page, policies)
        yield _preferences(fetcher, answer.origin)


def _reachable(url: str, answer: Answer | str) -> Iterator[Finding]:
    if isinstance(answer, str):
        yield missing("page", f"{url}: {answer}.", "Mend that, or name another page.")
    elif answer.status != 200:
        yield missing(
            "page", f"{answer.url} answers {answer.status}.", "Name a page that readers can open."
        )
    else:
        yield there("page", f"{answer.url} answers.")
        if answer.origin != origin_of(url):
            yield unseen(
                "page",
                f"{origin_of(url)} leads to {answer.origin}, so that is what is examined.",
                f"ALLOWED_ORIGINS needs {answer.origin}, and every other origin that has pages.",
            )


def _encrypted(answer: Answer) -> Finding:
    host = urlsplit(answer.url).hostname or ""
    if answer.url.startswith("https://"):
        return there("https", "The page comes encrypted.")
    if host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost"):
        return unseen("https", "Browsers let this machine do without.", "Readers need https.")
    return missing("https", "The page does not come by https.", "Push exists on https pages only.")


def _script(page: Page, service: str, policies: list[Policy]) -> Iterator[Finding]:
    wanted = f'<script src="{service}/reader.js" defer></script>'
    if not page.scripts:
        how = "Open the page and look for a request for reader.js in the browser's network tools."
        if page.late or page.mentions_reader:
            by = ", ".join(page.late) or "A script of the page"
            yield unseen("script", f"No tag is in the page itself. {by} may add it later.", how)
        else:
            yield missing(
                "script",
                "No tag loads reader.js.",
                f"Put {wanted} into the page's head. Should a tag manager add it later, which "
                f"cannot be seen from here: {how[0].lower()}{how[1:]}",
            )
        return
    tag = next((tag for tag in page.scripts if not tag.blocked), page.scripts[0])
    if origin_of(tag.src) != service:
        yield missing(
            "script",
            f"The page loads it from {origin_of(tag.src)}, and this service is {service}.",
            f"Write {wanted}, or examine the other with --service {origin_of(tag.src)}.",
        )
    elif tag.blocked:
        yield unseen(
            "script",
            "The tag is there, but does not run by itself: a consent tool must start it.",
            "Give consent in a browser and look whether reader.js is loaded.",
        )
    else:
        yield there("script", "The page loads reader.js.")
    yield _script_policy(tag, policies)


def _script_policy(tag: ScriptTag, policies: list[Policy]) -> Finding:
    subject = "page's policy: script"
    if all_allow(policies, "script-src-elem", tag.src, tag.nonce):
        return there(subject, "It may run reader.js.")
    return missing(
        subject,
        "The Content-Security-Policy forbids reader.js.",
        f"Add {origin_of(tag.src)} to script-src; with 'strict-dynamic', the page's nonce to the "
        "tag instead.",
    )


def _service(fetcher: Fetcher, service: str, origin: str) -> Iterator[Finding]:
    if origin.startswith("https://") and not service.startswith("https://"):
        yield missing(
            "service",
            f"{service} is not https, and pages that are may load nothing from it.",
            "Set PUBLIC_URL to the https address of this service.",
        )
        return
    script = fetcher.get(f"{service}/reader.js")
    if isinstance(script, str) or script.status != 200 or not script.is_javascript:
        yield missing(
            "service",
            f"{service}/reader.js: {_wrong(script)}.",
            "Start the service, and let your reverse proxy or CDN pass /reader.js on; PUBLIC_URL "
            "must be where readers reach it.",
        )
        return
    yield there("service", f"{service} serves reader.js.")
    allowed = fetcher.preflight(f"{service}/api/v1/subscriptions", origin)
    given = None if isinstance(allowed, str) else allowed.headers.get("Access-Control-Allow-Origin")
    if given in (origin, "*"):
        yield there("ALLOWED_ORIGINS", f"Pages of {origin} may opt readers in.")
    else:
        yield missing(
            "ALLOWED_ORIGINS",
            f"The service refuses what pages of {origin} send.",
            f"Add {origin} to ALLOWED_ORIGINS and start the service again. If it is there, your "
            "reverse proxy keeps OPTIONS requests or Access-Control headers back.",
        )


def _worker(fetcher: Fetcher, service: str, origin: str) -> Iterator[Finding]:
    url = f"{origin}{_WORKER}"
    subject = "worker"
    make = f"Put a file there that contains {import_line(service)}"
    answer = fetcher.get(url, follow=False, Service_Worker="script")
    if isinstance(answer, str):
        yield missing(subject, f"{url}: {answer}.", make)
    elif 300 <= answer.status < 400:
        yield missing(
            subject,
            f"{url} redirects, and browsers accept no worker behind a redirect.",
            f"Have {_WORKER} served as it stands.",
        )
    elif answer.status != 200:
        yield missing(subject, f"{url} answers {answer.status}.", f"{make} (notifier embed).")
    elif not answer.is_javascript:
        kind = answer.media_type or "no type"
        yield missing(
            subject,
            f"{url} comes as {kind}, and browsers accept a worker as JavaScript only.",
            "Have it served as text/javascript. If that is your error page, put the file there.",
        )
    else:
        yield _imports(answer, service)
        yield _scope(answer)
        yield from _worker_policy(answer, service)
        imported = fetcher.get(f"{service}/notifier-worker.js")
        if isinstance(imported, str) or imported.status != 200 or not imported.is_javascript:
            yield missing(
                "worker's code",
                f"{service}/notifier-worker.js: {_wrong(imported)}.",
                "Let your reverse proxy or CDN pass it on to the service.",
            )


def _imports(worker: Answer, service: str) -> Finding:
    wanted = import_line(service)
    code = _COMMENT.sub("", worker.text)
    found = _IMPORT.findall(code)
    ours = f"{service}/notifier-worker.js"
    if ours in (urljoin(worker.url, given) for given in found):
        return there("worker", f"{_WORKER} is there and imports ours.")
    if any(given.endswith("/notifier-kill-switch.js") for given in found):
        return missing(
            "worker",
            f"{_WORKER} imports the kill switch: it shows no alerts, and ends subscriptions.",
            f"Once readers may be asked again, put {wanted} in its place.",
        )
    if found:
        given = urljoin(worker.url, found[0])
        return missing(
            "worker",
            f"{_WORKER} imports {given}, and this service is {service}.",
            f"Write {wanted}",
        )
    if "importScripts" in code:
        return unseen(
            "worker",
            f"{_WORKER} imports something that cannot be followed from here.",
            f"See that it comes to {wanted}",
        )
    return missing("worker", f"{_WORKER} does not import ours.", f"Add {wanted}")


def _scope(worker: Answer) -> Finding:
    """Service Workers, section "Service-Worker-Allowed": the widest scope that is permitted."""
    given = worker.headers.get("Service-Worker-Allowed")
    widest = urljoin(worker.url, given if given is not None else "./")
    if urljoin(worker.url, SCOPE).startswith(widest):
        return there("worker's scope", f"It may have {SCOPE}, and so controls none of your pages.")
    return missing(
        "worker's scope",
        f"Its header Service-Worker-Allowed: {given} forbids the scope {SCOPE}.",
        "Leave that header out.",
    )


def _worker_policy(worker: Answer, service: str) -> Iterator[Finding]:
    subject = "worker's policy"
    policies = worker.policies
    wrong = []
    if not all_allow(policies, "script-src", f"{service}/notifier-worker.js"):
        wrong.append(f"script-src {service}")
    if not all_allow(policies, "connect-src", f"{service}/api/v1/subscriptions"):
        wrong.append(f"connect-src {service}")
    if wrong:
        yield missing(
            subject,
            f"The Content-Security-Policy that {_WORKER} comes with forbids it to work.",
            f"For that file, add: {'; '.join(wrong)}",
        )
    elif any(policy.asks_for_trusted_types for policy in policies):
        yield missing(
            subject,
            f"{_WORKER} comes with require-trusted-types-for, and then imports nothing.",
            "Leave that directive out of that one file's Content-Security-Policy.",
        )
    else:
        yield there(subject, "It may import ours and call the service.")


def _page_policy(policies: list[Policy], service: str, origin: str) -> Iterator[Finding]:
    wrong = []
    if not all_allow(policies, "connect-src", f"{service}/api/v1/config"):
        wrong.append(f"connect-src {service}")
    if not all_allow(policies, "worker-src", f"{origin}{_WORKER}"):
        wrong.append("worker-src 'self'")
    if not all(policy.allows_policy for policy in policies):
        wrong.append("trusted-types notifier")
    if wrong:
        yield missing(
            "page's policy",
            "The Content-Security-Policy forbids what reader.js does.",
            f"Add: {'; '.join(wrong)}",
        )
    elif policies:
        yield there("page's policy", "It may call the service and start the worker.")
    else:
        yield there("page's policy", "There is none, so nothing is forbidden.")


def _manifest(fetcher: Fetcher, page: Page, policies: list[Policy]) -> Iterator[Finding]:
    subject = "manifest"
    remedy = "For readers on iPhones and iPads: notifier embed makes or completes it."
    if page.manifest is None:
        todo = f'{remedy} Link it: <link rel="manifest" href="/manifest.webmanifest">'
        yield missing(subject, "The page links none.", todo)
        return
    if not all_allow(policies, "manifest-src", page.manifest):
        todo = f"Add to the Content-Security-Policy: manifest-src {origin_of(page.manifest)}"
        yield missing(subject, "The page's Content-Security-Policy forbids it.", todo)
        return
    answer = fetcher.get(page.manifest)
    if isinstance(answer, str) or answer.status != 200:
        yield missing(subject, f"{page.manifest}: {_wrong(answer)}.", remedy)
        return
    try:
        manifest = json.loads(answer.text.removeprefix("\ufeff"))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        yield missing(subject, f"{answer.url} is not a JSON object.", remedy)
        return
    if manifest.get("display") in _STANDALONE:
        yield there(subject, f'It is there, with "display": "{manifest["display"]}".')
    else:
        text = 'It lacks "display": "standalone", without which iPhones have no notifications.'
        yield missing(subject, text, remedy)
    yield _icon(fetcher, manifest, answer.url, remedy)


def _icon(fetcher: Fetcher, manifest: dict[str, object], url: str, remedy: str) -> Finding:
    icons = manifest.get("icons")
    sources = [
        icon["src"]
        for icon in (icons if isinstance(icons, list) else [])
        if isinstance(icon, dict) and isinstance(icon.get("src"), str)
    ]
    if not sources:
        return missing("icons", "The manifest names none.", remedy)
    for source in sources:
        answer = fetcher.get(urljoin(url, source))
        if (
            not isinstance(answer, str)
            and answer.status == 200
            and answer.media_type.startswith("image/")
        ):
            continue
        return missing("icons", f"{urljoin(url, source)}: {_wrong(answer)}.", "Put an image there.")
    return there("icons", "The manifest's icons are there.")


def _preferences(fetcher: Fetcher, origin: str) -> Finding:
    subject = "preferences"
    answer = fetcher.get(f"{origin}/notifications.html")
    if not isinstance(answer, str) and "<notifier-preferences" in answer.text:
        return there(subject, "Readers find their choices at /notifications.html.")
    return unseen(
        subject,
        "There is no page of ours at /notifications.html.",
        "Readers need a way to their choices: notifier embed makes a page, or give one of your "
        "own a link or button with data-notifier=preferences.",
    )


def _wrong(answer: Answer | str) -> str:
    if isinstance(answer, str):
        return answer
    if answer.status != 200:
        return f"it answers {answer.status}"
    return f"it comes as {answer.media_type or 'no type'}"

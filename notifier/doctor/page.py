"""What a browser finds in a page's HTML before any script has run."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

_LATE = {
    "googletagmanager.com": "Google Tag Manager",
    "tealiumiq.com": "Tealium",
    "adobedtm.com": "Adobe's tag manager",
    "cookielaw.org": "OneTrust",
    "cookiebot.com": "Cookiebot",
    "didomi.io": "Didomi",
    "usercentrics.eu": "Usercentrics",
}


@dataclass(frozen=True)
class ScriptTag:
    """One that loads reader.js; `blocked` when its type keeps a browser from running it."""

    src: str
    nonce: str | None
    blocked: bool


@dataclass
class Page:
    """`late` names what may add scripts once the page runs."""

    scripts: list[ScriptTag] = field(default_factory=list)
    manifest: str | None = None
    policies: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    mentions_reader: bool = False


def read_page(html: str, url: str) -> Page:
    """The page at `url`; addresses in it are made absolute."""
    reader = _PageReader(url)
    reader.feed(html)
    reader.close()
    page = reader.page
    page.late = [name for host, name in _LATE.items() if host in html]
    page.mentions_reader = re.search(r"reader\.js|notifierSettings", html) is not None
    return page


class _PageReader(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.page = Page()
        self._base = url
        self._has_base = False
        self._inert = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in reversed(attrs)}
        if tag in ("template", "noscript"):
            self._inert += 1
        elif self._inert:
            return
        elif tag == "base" and "href" in given and not self._has_base:
            self._base, self._has_base = urljoin(self._base, given["href"]), True
        elif tag == "script":
            self._script(given)
        elif tag == "link" and "manifest" in given.get("rel", "").lower().split():
            self.page.manifest = self.page.manifest or urljoin(self._base, given.get("href", ""))
        elif (
            tag == "meta"
            and given.get("http-equiv", "").strip().lower() == "content-security-policy"
        ):
            self.page.policies.append(given.get("content", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("template", "noscript") and self._inert:
            self._inert -= 1

    def _script(self, given: dict[str, str]) -> None:
        src = urljoin(self._base, given.get("src") or given.get("data-src", ""))
        if not urlsplit(src).path.endswith("/reader.js"):
            return
        kind = given.get("type", "").strip().lower()
        runs = kind in ("", "module", "text/javascript", "application/javascript")
        blocked = not runs or "src" not in given
        self.page.scripts.append(ScriptTag(src, given.get("nonce"), blocked))

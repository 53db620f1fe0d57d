"""Which URLs an alert may send a reader to."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from notifier.errors import InvalidInput

MAX_URL = 2048

# What a URL may contain as it is, "%" among it, as what is encoded already must stay so.
_AS_IS = "%/:=&?~#+!$,;'@()*[]"


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """https links to the newsroom's hosts, and this service's own pages.

    `hosts` are `host` or `host:port`, lower case; none stands for any host. Plain http is
    accepted only for a loopback name that is listed, and for `own_origin`.
    """

    hosts: tuple[str, ...] = ()
    own_origin: str = ""

    def check(self, url: str, *, field: str = "url") -> str:
        """The URL in ASCII. Raises InvalidInput when a reader must not be sent there."""
        self._refuse_malformed(url, field)
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" == self.own_origin:
            return _ascii(url, field)
        listed = is_listed(parts.hostname or "", parts.netloc.lower(), self.hosts)
        if parts.scheme != "https" and not (listed and _is_loopback(parts.hostname)):
            raise InvalidInput("The link must begin with https://.", field=field)
        if self.hosts and not listed:
            raise InvalidInput(
                f"{parts.hostname} is not one of ARTICLE_HOSTS: {', '.join(self.hosts)}.",
                field=field,
            )
        return _ascii(url, field)

    def check_image(self, url: str) -> str:
        """An image's URL in ASCII: https from any host, as pictures often lie on a CDN."""
        if url.startswith(f"{self.own_origin}/"):
            return self.check(url, field="image")
        return LinkPolicy().check(url, field="image")

    def _refuse_malformed(self, url: str, field: str) -> None:
        if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url):
            raise InvalidInput("The link must not contain spaces or line breaks.", field=field)
        if "\\" in url:
            raise InvalidInput("The link must not contain a backslash.", field=field)
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise InvalidInput("This is not a valid link.", field=field) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput("The link must begin with https://.", field=field)
        if "@" in parts.netloc:
            raise InvalidInput("The link must not contain a user name.", field=field)
        if len(_ascii(url, field)) > MAX_URL:
            raise InvalidInput(f"The link is longer than {MAX_URL} bytes.", field=field)


def is_listed(hostname: str, netloc: str, hosts: Iterable[str]) -> bool:
    return any(host in (hostname, netloc) for host in hosts)


def _is_loopback(hostname: str | None) -> bool:
    return hostname in ("localhost", "127.0.0.1") or (hostname or "").endswith(".localhost")


def _ascii(url: str, field: str) -> str:
    parts = urlsplit(url)
    netloc = parts.netloc
    if not netloc.isascii():
        try:
            netloc = netloc.encode("idna").decode()
        except UnicodeError:
            raise InvalidInput("The link's host is not a valid name.", field=field) from None
    return parts._replace(
        netloc=netloc,
        path=quote(parts.path, safe=_AS_IS),
        query=quote(parts.query, safe=_AS_IS),
        fragment=quote(parts.fragment, safe=_AS_IS),
    ).geturl()

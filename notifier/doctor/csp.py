"""What a Content Security Policy lets a page or worker do (CSP Level 3, Trusted Types)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

_FALLBACKS = {
    "script-src-elem": ("script-src-elem", "script-src", "default-src"),
    "script-src": ("script-src", "default-src"),
    "connect-src": ("connect-src", "default-src"),
    "manifest-src": ("manifest-src", "default-src"),
    "worker-src": ("worker-src", "child-src", "script-src", "default-src"),
}
_HOST_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\*|(?:\*\.)?[a-z0-9.-]+|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>\*|\d+))?(?P<path>/[^?#]*)?",
    re.IGNORECASE,
)
_UPGRADES = {"http": {"http", "https"}, "ws": {"ws", "wss", "http", "https"}}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Policy:
    """One policy; a page may have several, and all of them must allow a thing."""

    origin: str
    directives: dict[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str, origin: str) -> Self:
        """The policy of a document or worker at `origin`; of a repeated directive the first."""
        directives: dict[str, tuple[str, ...]] = {}
        for part in text.split(";"):
            name, *values = part.split() or [""]
            if name:
                directives.setdefault(name.lower(), tuple(values))
        return cls(origin, directives)

    def allows(self, directive: str, url: str, nonce: str | None = None) -> bool:
        """Whether the directive, or the one that stands in for it, lets `url` be loaded.

        `nonce` is that of the script element (CSP Level 3, section 6.7.2).
        """
        names = _FALLBACKS[directive]
        sources = next((self.directives[name] for name in names if name in self.directives), None)
        if sources is None:
            return True
        scripts = directive in ("script-src", "script-src-elem")
        if scripts and nonce and f"'nonce-{nonce}'" in sources:
            return True
        if scripts and "'strict-dynamic'" in (source.lower() for source in sources):
            return False  # then no address counts
        return any(self._matches(source, url) for source in sources)

    @property
    def allows_policy(self) -> bool:
        """Whether a Trusted Types policy `notifier` may be made."""
        names = self.directives.get("trusted-types")
        return names is None or "notifier" in names or "*" in names

    @property
    def asks_for_trusted_types(self) -> bool:
        return "'script'" in self.directives.get("require-trusted-types-for", ())

    def _matches(self, source: str, url: str) -> bool:
        wanted = urlsplit(url)
        own = urlsplit(self.origin)
        lowered = source.lower()
        if lowered == "*":
            return wanted.scheme in ("http", "https", own.scheme)
        if lowered == "'self'":
            lowered = source = self.origin
        if re.fullmatch(r"[a-z][a-z0-9+.-]*:", lowered):
            return _scheme_matches(lowered[:-1], wanted.scheme)
        parts = _HOST_SOURCE.fullmatch(source)
        return (
            parts is not None
            and _scheme_matches((parts["scheme"] or own.scheme).lower(), wanted.scheme)
            and _host_matches(parts["host"].lower(), wanted.hostname or "")
            and _port_matches(parts["port"], wanted.port or _PORTS[wanted.scheme], wanted.scheme)
            and _path_matches(parts["path"] or "", wanted.path)
        )


def all_allow(
    policies: Iterable[Policy], directive: str, url: str, nonce: str | None = None
) -> bool:
    return all(policy.allows(directive, url, nonce) for policy in policies)


def _scheme_matches(given: str, wanted: str) -> bool:
    return wanted in _UPGRADES.get(given, {given})


def _host_matches(given: str, wanted: str) -> bool:
    if given == "*":
        return True
    if given.startswith("*."):
        return wanted.endswith(given[1:])
    return given.strip("[]") == wanted


def _port_matches(given: str | None, wanted: int, scheme: str) -> bool:
    if given == "*":
        return True
    if given is None:
        return wanted == _PORTS[scheme]
    return int(given) == wanted or (int(given) == 80 and wanted == 443)


def _path_matches(given: str, wanted: str) -> bool:
    if given in ("", "/"):
        return True
    given, wanted = unquote(given), unquote(wanted)
    return wanted.startswith(given) if given.endswith("/") else wanted == given

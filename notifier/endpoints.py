"""Which endpoint URLs and subscription keys are acceptable: the guard against being made to call.

An endpoint is an address that a stranger gives us and that we will call. Everything here decides
on the parts of one parse, compares the host whole, and hands back a URL rebuilt from those parts,
so that no other parser gets to read it differently. Messages never repeat what was given: an
endpoint is a capability.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from notifier.errors import InvalidInput

MAX_URL_LENGTH = 2048
P256DH_LENGTH = 65
AUTH_LENGTH = 16

_HOSTS = {
    "fcm.googleapis.com": "fcm",
    "jmt17.google.com": "fcm",  # what Debian's Chromium is given
    "updates.push.services.mozilla.com": "mozilla",
    "web.push.apple.com": "apple",
}
_HOST_SUFFIXES = {
    ".push.apple.com": "apple",
    ".notify.windows.com": "wns",
}
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_PRINTABLE_ASCII = re.compile(r"[!-~]+")
_PLAIN_CHARACTERS = bytes(set(range(ord("!"), ord("~") + 1)) - set(b"\\?#"))
_MOST_KNOWN = 1024
_AFTER_SCHEME = len("https://")
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_IPV6_LITERAL = re.compile(r"\[[0-9a-f:.]+\]")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+")
_LONGEST_KEY_TEXT = 128


class Endpoint(NamedTuple):
    """An endpoint that may be called.

    `url` is the canonical form (scheme and host in lower case, no default port), the one to store,
    hash and send to; `origin` is what a VAPID token names as its audience; `push_service` is
    "fcm", "mozilla", "apple" or "wns", or the origin itself for an additional one.
    """

    url: str
    origin: str
    push_service: str


def endpoint_hash(url: str) -> bytes:
    """What an endpoint is looked up and compared by: its SHA-256."""
    return hashlib.sha256(url.encode()).digest()


class EndpointPolicy:
    """Decides which endpoints may be called.

    `extra_origins` are accepted besides the known push services, for development: `http` or
    `https`, any port, compared as whole origins. One that is not an origin raises InvalidInput.
    """

    def __init__(self, extra_origins: Iterable[str] = ()) -> None:
        self._extra_origins = frozenset(_extra_origin(text) for text in extra_origins)
        self._known: dict[str, str] = {}  # origins that have passed, and their push services

    def check(self, url: str) -> Endpoint:
        """The endpoint that `url` names.

        Checking the result's `url` again gives the same result. Raises InvalidInput, which says
        what is wrong without repeating the URL.
        """
        if not isinstance(url, str):  # a damaged database may hold anything
            raise _refused("The endpoint is not text.")
        # A shorter way to what is found below, as this stands in front of every send.
        end_of_origin = url.find("/", _AFTER_SCHEME)
        if end_of_origin > 0 and _is_plain(url):
            origin = url[:end_of_origin]
            known = self._known.get(origin)
            if known is not None:
                return Endpoint(url, origin, known)
        parts = _split(url)
        origin, host = _origin_and_host(parts)
        push_service = self._push_service(parts.scheme, origin, host)
        if not parts.path:
            raise _refused("The endpoint has no path.")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[origin] = push_service
        query = f"?{parts.query}" if parts.query else ""
        return Endpoint(f"{origin}{parts.path}{query}", origin, push_service)

    def _push_service(self, scheme: str, origin: str, host: str) -> str:
        if origin == f"https://{host}":  # https, on its own port
            if host in _HOSTS:
                return _HOSTS[host]
            for suffix, push_service in _HOST_SUFFIXES.items():
                if host.endswith(suffix):
                    return push_service
        if origin in self._extra_origins:
            return origin
        if scheme != "https":
            raise _refused("The endpoint does not use https.")
        if origin != f"https://{host}":
            raise _refused("The endpoint names a port other than 443.")
        raise _refused("The endpoint does not belong to a known push service.")


def check_p256dh(raw: bytes) -> bytes:
    """A browser's public key as it came: an uncompressed point on P-256, 65 bytes.

    Raises InvalidInput.
    """
    if len(raw) != P256DH_LENGTH or raw[0] != 4:
        raise InvalidInput(
            "The p256dh key is not an uncompressed P-256 point of 65 bytes.", field="p256dh"
        )
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        raise InvalidInput("The p256dh key is not a point on P-256.", field="p256dh") from None
    return raw


def check_auth(raw: bytes) -> bytes:
    """A browser's authentication secret as it came: 16 bytes (RFC 8291, section 3.2).

    Raises InvalidInput.
    """
    if len(raw) != AUTH_LENGTH:
        raise InvalidInput("The auth secret is not 16 bytes long.", field="auth")
    return raw


def decode_key(text: str, field: str) -> bytes:
    """The bytes of a key that came as text, for the API's `field`.

    Base64url as browsers write it, with or without padding; the standard alphabet is accepted too
    because older client libraries use it. Nothing else is: no blanks, no mixture of the alphabets,
    no wrong padding, no bits set beyond the last byte. Raises InvalidInput.
    """
    digits = text.rstrip("=")
    padding = -len(digits) % 4
    well_formed = (
        len(text) <= _LONGEST_KEY_TEXT
        and (_BASE64URL.fullmatch(digits) or _BASE64.fullmatch(digits))
        and len(text) - len(digits) in (0, padding)
    )
    if well_formed:
        digits = digits.replace("+", "-").replace("/", "_")
        try:
            raw = base64.urlsafe_b64decode(digits + "=" * padding)
        except binascii.Error:
            pass
        else:
            if encode_key(raw) == digits:
                return raw
    raise InvalidInput(f"The {field} key is not base64url.", field=field)


def encode_key(raw: bytes) -> str:
    """A key as text, in base64url without padding, as browsers write it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _is_plain(url: str) -> bool:
    """Whether there is nothing in a URL that any two parsers could read differently."""
    return (
        len(url) <= MAX_URL_LENGTH
        and url.isascii()
        and not url.encode().translate(None, delete=_PLAIN_CHARACTERS)
    )


def _split(url: str) -> SplitResult:
    """Parse once. What any two parsers are known to read differently is refused beforehand."""
    if len(url) > MAX_URL_LENGTH:
        raise _refused(f"The endpoint is longer than {MAX_URL_LENGTH:,} characters.")
    if not _PRINTABLE_ASCII.fullmatch(url):
        raise _refused("The endpoint contains characters other than printable ASCII.")
    if "\\" in url:
        raise _refused("The endpoint contains a backslash.")
    if "#" in url:
        raise _refused("The endpoint contains a fragment.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _refused("The endpoint is not a URL.") from None
    if not parts.netloc or not url.lower().startswith(f"{parts.scheme}://"):
        raise _refused("The endpoint is not a URL with a host.")
    if "@" in parts.netloc:
        raise _refused("The endpoint contains a user name.")
    return parts


def _origin_and_host(parts: SplitResult) -> tuple[str, str]:
    """The origin in its canonical form, and its host."""
    scheme = parts.scheme
    authority = parts.netloc.lower()
    literal = _IPV6_LITERAL.match(authority)
    host = literal.group() if literal else authority.partition(":")[0]
    after_host = authority[len(host) :]
    if not literal and not _HOST_NAME.fullmatch(host):
        raise _refused("The endpoint's host is not a host name.")
    if after_host in ("", f":{_DEFAULT_PORTS.get(scheme)}"):
        return f"{scheme}://{host}", host
    if after_host[0] != ":" or not _PORT.fullmatch(after_host, 1):
        raise _refused("The endpoint's port is not a port.")
    return f"{scheme}://{authority}", host


def _extra_origin(text: str) -> str:
    field = "extra_push_origins"
    try:
        parts = _split(text)
        origin, _ = _origin_and_host(parts)
    except InvalidInput:
        raise InvalidInput(
            "An additional push service is not given as an origin such as http://localhost:9999.",
            field=field,
        ) from None
    if parts.scheme not in _DEFAULT_PORTS or parts.path not in ("", "/") or parts.query:
        raise InvalidInput(
            "An additional push service is an http or https origin, without a path.", field=field
        )
    return origin


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field="endpoint")

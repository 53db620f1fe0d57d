"""VAPID keys and the tokens that they sign: RFC 8292."""

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import py_vapid.jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from py_vapid import Vapid02

from notifier.endpoints import encode_key
from notifier.errors import InvalidInput, NotifierError

TOKEN_LIFETIME = timedelta(hours=12)
"""Half of the 24 hours that RFC 8292 (section 2) allows, so that clocks may disagree."""
RENEWED_BEFORE_END = timedelta(hours=1)
RESIGNED_AFTER = timedelta(minutes=1)
RELOADED_AFTER = timedelta(seconds=10)
"""How often keys are looked for that were made after this process began, if one is missing."""
MAX_TOKENS = 4096
"""Tokens kept at a time. Apple and Microsoft have many hosts, and readers name them."""

# In seconds: they are compared for every message.
_TOKEN_LIFETIME = TOKEN_LIFETIME.total_seconds()
_RENEWED_BEFORE_END = RENEWED_BEFORE_END.total_seconds()

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PUBLIC_HOST = re.compile(rf"(?:{_LABEL}\.)+(?!\d+\Z){_LABEL}")
_LOCAL_PART = re.compile(r"[A-Za-z0-9_+'/=~^-]+(?:\.[A-Za-z0-9_+'/=~^-]+)*")
_PRINTABLE_ASCII = re.compile(r"[!-~]+")

log = structlog.get_logger()


class UnknownVapidKeyError(NotifierError):
    """A subscription names a VAPID key that this deployment does not have."""


class UnreadableVapidKeyError(NotifierError):
    """A file does not hold a VAPID key; the text names the file, never its content."""


@dataclass(frozen=True, slots=True)
class VapidKey:
    """A key pair that subscriptions are made with.

    `public_key` is the uncompressed point, 65 bytes; `id` is the database's, 0 until it has one.
    """

    private_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    id: int = 0
    public_key: bytes = field(init=False)

    def __post_init__(self) -> None:
        point = self.private_key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        object.__setattr__(self, "public_key", point)

    @classmethod
    def generate(cls) -> Self:
        """A new key pair, known to nobody else yet."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> Self:
        """The key pair in a PEM file, ours or one that another Web Push library made.

        Raises UnreadableVapidKeyError when the file holds anything but a P-256 private key in the
        clear, and OSError when it cannot be read.
        """
        pem = path.read_bytes()
        try:
            private_key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):  # TypeError: it is encrypted
            private_key = None
        if not isinstance(private_key, ec.EllipticCurvePrivateKey) or not isinstance(
            private_key.curve, ec.SECP256R1
        ):
            raise UnreadableVapidKeyError(f"{path} does not hold a P-256 private key in PEM form.")
        return cls(private_key)

    def save(self, path: Path) -> None:
        """Write the private key to a new file that only its owner may read.

        The file appears whole or not at all. Raises FileExistsError when there is one already: a
        key that subscriptions were made with must never be replaced.
        """
        draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._pem())
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)  # unlike a rename, a link never replaces
        finally:
            draft.unlink()

    def with_id(self, key_id: int) -> Self:
        """The same key pair, under the id that the database has assigned."""
        return replace(self, id=key_id)

    @property
    def application_server_key(self) -> str:
        """The public key as a page hands it to `PushManager.subscribe()`: unpadded base64url."""
        return encode_key(self.public_key)

    def as_vapid(self) -> Vapid02:
        """The key pair as pywebpush takes it."""
        return Vapid02(self.private_key)

    def _pem(self) -> bytes:
        return self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class _Token(NamedTuple):
    header: str
    signed_at: float
    expires_at: float


class VapidSigner:
    """Signs for any origin with any of the deployment's keys, and reuses what it signed.

    `keys` maps the ids that subscriptions remember to key pairs; `reload` answers them anew when a
    subscription names one that is not among them. Raises InvalidInput when `subject` is not one
    that push services accept (see `check_subject`).
    """

    def __init__(
        self,
        keys: Mapping[int, VapidKey],
        subject: str,
        reload: Callable[[], Mapping[int, VapidKey]] | None = None,
    ) -> None:
        self._keys = dict(keys)
        self._subject = check_subject(subject)
        self._reload = reload
        self._reloaded_at = -math.inf
        self._tokens: dict[tuple[int, str], _Token] = {}

    def authorization(self, key_id: int, origin: str) -> str:
        """The `Authorization` header's value for one push service's origin (RFC 8292, section 3).

        Raises UnknownVapidKeyError.
        """
        token = self._tokens.get((key_id, origin))
        if token is not None:
            left = token.expires_at - time.time()
            # Too much left means that the clock was set back: the token would look forged.
            if _RENEWED_BEFORE_END < left <= _TOKEN_LIFETIME:
                return token.header
        return self._sign(key_id, origin)

    def resign(self, key_id: int, origin: str) -> str:
        """As `authorization`, but signed afresh unless that was done in the last minute.

        For when a push service has refused a token. Raises UnknownVapidKeyError.
        """
        token = self._tokens.get((key_id, origin))
        if token is not None:
            age = time.time() - token.signed_at
            if 0 <= age < RESIGNED_AFTER.total_seconds():
                return token.header
        return self._sign(key_id, origin)

    def _sign(self, key_id: int, origin: str) -> str:
        key = self._keys.get(key_id) or self._look_again().get(key_id)
        if key is None:
            raise UnknownVapidKeyError(
                "The subscription was made with a VAPID key that is not here."
            )
        now = time.time()
        expires_at = int(now + _TOKEN_LIFETIME)
        claims = {"aud": origin, "exp": expires_at, "sub": self._subject}
        jwt = py_vapid.jwt.sign(claims, key.private_key)
        header = f"vapid t={jwt},k={key.application_server_key}"
        self._tokens.pop((key_id, origin), None)
        if len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]  # the one that was signed first
        self._tokens[key_id, origin] = _Token(header, now, expires_at)
        return header

    def _look_again(self) -> Mapping[int, VapidKey]:
        """The keys after another look for new ones, if it is time for that."""
        age = time.time() - self._reloaded_at
        if self._reload is not None and not 0 <= age < RELOADED_AFTER.total_seconds():
            self._reloaded_at = time.time()
            try:
                self._keys = dict(self._reload())
            except Exception as error:  # whatever it is, the other messages can be signed
                log.error("vapid_keys_not_reloaded", error=type(error).__name__)
        return self._keys


def check_subject(text: str) -> str:
    """The contact that push services are given, as it came: a `mailto:` or an `https:` address.

    Stricter than RFC 8292, section 2.1, because Apple is: it refuses every push of a sender whose
    subject is written `mailto: <…>` or names localhost. Raises InvalidInput.
    """
    if not _PRINTABLE_ASCII.fullmatch(text) or "<" in text or ">" in text:
        raise _not_a_subject("without blanks or angle brackets")
    if text.startswith("mailto:"):
        local_part, _, host = text.removeprefix("mailto:").rpartition("@")
        if not _LOCAL_PART.fullmatch(local_part):
            raise _not_a_subject("with a full e-mail address")
    elif text.startswith("https://"):
        try:
            authority = urlsplit(text).netloc
        except ValueError:
            authority = ""
        host = re.sub(r":[0-9]{1,5}\Z", "", authority)
    else:
        raise _not_a_subject("in lower case")
    if not _PUBLIC_HOST.fullmatch(host) or host.lower().endswith(".localhost"):
        raise _not_a_subject("with a public host name")
    return text


def _not_a_subject(what: str) -> InvalidInput:
    return InvalidInput(
        f"The VAPID subject must be a mailto: address or an https: URL {what}, "
        "such as mailto:newsdesk@example.com.",
        field="vapid_subject",
    )

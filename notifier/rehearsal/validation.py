"""The checks of a strict push service on one request (RFC 8030, RFC 8188, RFC 8291, RFC 8292).

They follow Mozilla's service, and Apple's where that is the stricter one, so that what passes
here passes everywhere. Error numbers are those of Mozilla's service.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from notifier.rehearsal.content_coding import (
    EncryptedBody,
    MalformedBodyError,
    b64url_decode,
    load_point,
    split_body,
)

MAX_TTL = timedelta(days=30)
MAX_BODY_BYTES = 4096
MAX_TOKEN_LIFE = timedelta(hours=24)

_FAR_FUTURE = 1e12
"""Seconds since 1970 that no clock shows; the comparison also keeps NaN and Infinity out."""

_TTL = re.compile(r"-?[0-9]{1,18}\Z")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")
_URGENCIES = frozenset({"very-low", "low", "normal", "high"})
_CREDENTIALS = re.compile(r"vapid\s+(.+)\Z", re.IGNORECASE)


class PushError(Exception):
    """A request that the push service turns down."""

    def __init__(self, status: int, errno: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.errno = errno
        self.message = message

    def as_json(self) -> dict[str, Any]:
        """The error body of Mozilla's service."""
        try:
            title = HTTPStatus(self.status).phrase
        except ValueError:
            title = "Error"
        return {
            "code": self.status,
            "errno": self.errno,
            "error": title,
            "message": self.message,
        }


class VapidError(PushError):
    """VAPID credentials that are missing, wrong or not for this subscription (RFC 8292)."""

    def __init__(self, message: str) -> None:
        super().__init__(401, 109, message)


class BodyError(PushError):
    """A body that no browser could read."""

    def __init__(self, message: str) -> None:
        super().__init__(400, 110, message)


def check_ttl(header: str | None) -> timedelta:
    """How long to keep the message, at most 30 days (RFC 8030 section 5.2). Raises PushError."""
    if header is None or not _TTL.match(header):
        raise PushError(400, 111, "the TTL header is missing or not a number of seconds")
    seconds = int(header)
    if seconds < 0:
        raise PushError(400, 112, "the TTL header is negative")
    return timedelta(seconds=min(seconds, int(MAX_TTL.total_seconds())))


def check_topic(header: str | None) -> str | None:
    """The topic, at most 32 base64url characters (RFC 8030 section 5.4). Raises PushError."""
    if header is not None and not _TOPIC.match(header):
        raise PushError(400, 113, "the Topic header is not 1 to 32 base64url characters")
    return header


def check_urgency(header: str | None) -> str | None:
    """The urgency, one of the four of RFC 8030 section 5.3. Raises PushError."""
    if header is not None and header not in _URGENCIES:
        raise PushError(400, 999, "the Urgency header is not one of the four urgencies")
    return header


def check_body(body: bytes, content_encoding: str | None) -> EncryptedBody | None:
    """The body's parts, or None for a push message without data (RFC 8291 section 4).

    Raises PushError when it is too large, and BodyError when it is not one aes128gcm record.
    """
    if len(body) > MAX_BODY_BYTES:
        raise PushError(413, 104, f"the body is larger than {MAX_BODY_BYTES} bytes")
    if not body and content_encoding is None:
        return None
    if content_encoding != "aes128gcm":
        raise BodyError("the Content-Encoding header is not aes128gcm")
    try:
        return split_body(body)
    except MalformedBodyError as error:
        raise BodyError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _VerifiedToken:
    public_key: bytes
    expires: float


class VapidChecker:
    """Checks VAPID credentials, and remembers those whose signature it has verified.

    A sender signs once per origin and key and then repeats itself thousands of times, so only
    the first request of many pays for the elliptic curve.
    """

    _REMEMBERED = 1024

    def __init__(self) -> None:
        self._verified: dict[tuple[str, str], _VerifiedToken] = {}

    def check(
        self,
        authorization: str | None,
        *,
        origin: str,
        subscribed_key: bytes | None,
        now: float | None = None,
    ) -> None:
        """Hold an Authorization header against RFC 8292. Raises VapidError.

        origin is the one that the token must name as its audience, subscribed_key the point that
        the subscription was made with. A subscription made without a key needs no credentials,
        but those that are sent must be right. now is in seconds since 1970.
        """
        now = time.time() if now is None else now
        if authorization is None:
            if subscribed_key is not None:
                raise VapidError("the Authorization header is missing")
            return
        token = self._verified.get((authorization, origin))
        if token is None:
            token = _verify(authorization, origin)
            if len(self._verified) >= self._REMEMBERED:
                self._verified.clear()
            self._verified[authorization, origin] = token
        if token.expires <= now:
            raise VapidError("the token has expired")
        if token.expires > now + MAX_TOKEN_LIFE.total_seconds():
            raise VapidError("the token expires more than 24 hours ahead")
        if subscribed_key is not None and token.public_key != subscribed_key:
            raise VapidError("the key is not the one that the subscription was made with")


def _verify(authorization: str, origin: str) -> _VerifiedToken:
    """Check everything about the credentials but the time and the subscription."""
    parameters = _read_credentials(authorization)
    try:
        public_key = b64url_decode(parameters["k"])
        verifier = load_point(public_key)
        signed, _, signature_text = parameters["t"].rpartition(".")
        header_text, claims_text = signed.split(".")
        header = _read_object(header_text)
        claims = _read_object(claims_text)
        signature = b64url_decode(signature_text)
    except (KeyError, ValueError) as error:
        raise VapidError("the credentials are not a token and a P-256 key") from error
    if header.get("alg") != "ES256" or len(signature) != 64:
        raise VapidError("the token is not signed with ES256")
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        verifier.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise VapidError("the token's signature does not match the key") from error
    if claims.get("aud") != origin:
        raise VapidError("the token's audience is not this push service's origin")
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or not 1 < expires < _FAR_FUTURE:
        raise VapidError("the token has no usable expiry")
    if not _is_contact(claims.get("sub")):
        raise VapidError("the token's subject is not a mailto: or https: contact")
    return _VerifiedToken(public_key, float(expires))


def _read_credentials(authorization: str) -> Mapping[str, str]:
    match = _CREDENTIALS.match(authorization)
    if match is None:
        raise VapidError("the Authorization scheme is not vapid")
    pairs = (part.strip().partition("=") for part in match[1].split(","))
    return {name.lower(): value.strip('"') for name, _, value in pairs}


def _read_object(segment: str) -> dict[str, Any]:
    value = json.loads(b64url_decode(segment))
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _is_contact(subject: object) -> bool:
    """Whether someone could be reached there; Apple refuses blanks and @localhost."""
    if not isinstance(subject, str) or re.search(r"[\s<>]", subject):
        return False
    if subject.startswith("mailto:"):
        name, _, host = subject.removeprefix("mailto:").rpartition("@")
        return bool(name) and host not in ("", "localhost")
    try:
        address = urlsplit(subject)
        return address.scheme == "https" and address.hostname not in (None, "localhost")
    except ValueError:
        return False

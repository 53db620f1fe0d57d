"""Whether a push message carries the signature that its subscription asks for (RFC 8292)."""

import base64
import binascii
import json
import re
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

LONGEST_VALIDITY = timedelta(hours=24)


def vapid_problem(authorization: str, subscribed_key: str, origin: str) -> str | None:
    """What is wrong with an Authorization header, or None.

    `subscribed_key` is the applicationServerKey in base64url without padding. This is written
    against the RFC and apart from the product, so that it can disagree with it.
    """
    parameters = dict(re.findall(r"\b([tk])=([\w.~-]+)", authorization))
    if not authorization.lower().startswith("vapid ") or parameters.keys() != {"t", "k"}:
        return "not of the form: vapid t=token, k=key"
    if parameters["k"].rstrip("=") != subscribed_key:
        return "the key is not the one of the subscription"
    try:
        header, claims, signature = parameters["t"].split(".")
        if json.loads(_decode(header)).get("alg") != "ES256":
            return "not signed with ES256"
        _verify(subscribed_key, f"{header}.{claims}".encode(), _decode(signature))
        return _claims_problem(json.loads(_decode(claims)), origin)
    except InvalidSignature:
        return "the signature does not match"
    except (ValueError, binascii.Error):
        return "the token cannot be read"


def _verify(key: str, signed: bytes, signature: bytes) -> None:
    if len(signature) != 64:
        raise InvalidSignature
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _decode(key))
    public_key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


def _claims_problem(claims: dict[str, object], origin: str) -> str | None:
    if claims.get("aud") != origin:
        return f"aud is not {origin}"
    if not re.match(r"mailto:.|https://.", str(claims.get("sub"))):
        return "sub is neither a mailto: nor an https: URL"
    expires_at = claims.get("exp")
    now = datetime.now(UTC).timestamp()
    if not isinstance(expires_at, int):
        return "exp is not a number of seconds"
    if not now < expires_at <= now + LONGEST_VALIDITY.total_seconds():
        return "exp is past or more than 24 hours ahead"
    return None


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

"""Encryption of push messages: RFC 8291 over the aes128gcm coding of RFC 8188."""

import os
from collections.abc import Sequence
from functools import partial

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from notifier.errors import InvalidInput

MAX_PLAINTEXT = 2700
"""Bytes. Mozilla's bridged clients take 2,744; RFC 8291 itself allows 3,993."""

_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_UNCOMPRESSED = (Encoding.X962, PublicFormat.UncompressedPoint)
_LAST_RECORD = b"\x02"
_RECORD_SIZE = (4096).to_bytes(4, "big")
_KEY_ID_LENGTH = b"\x41"  # 65 bytes: the sender's public key
_AUTH_LENGTH = 16

_IKM_INFO = b"WebPush: info\0"
_KEY_INFO = b"Content-Encoding: aes128gcm\0\1"
_NONCE_INFO = b"Content-Encoding: nonce\0\1"

# HKDF-Extract is HMAC (RFC 5869, section 2.2), and HKDF-Expand to no more than the hash's length is
# HMAC over the info and a 1: RFC 8291, section 3.4, writes all its steps so.
_hmac_sha256 = partial(HKDF.extract, hashes.SHA256())


def pad(plaintext: bytes) -> bytes:
    """The one record of a message before encryption (RFC 8188, section 2); once per alert.

    Raises InvalidInput when `plaintext` is longer than MAX_PLAINTEXT.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise InvalidInput(
            f"The notification takes {len(plaintext):,} bytes; "
            f"at most {MAX_PLAINTEXT:,} can be sent."
        )
    return plaintext + _LAST_RECORD


def encrypt(padded: bytes, p256dh: bytes, auth: bytes) -> bytes:
    """The body of a push message for one browser, under a key pair and salt of its own.

    `padded` comes from `pad`; `p256dh` is the browser's public key (an uncompressed point, 65
    bytes), `auth` its secret (16 bytes). Raises ValueError when these are not that.
    """
    return encrypt_with(padded, p256dh, auth, ec.generate_private_key(_CURVE), os.urandom(16))


def encrypt_all(messages: Sequence[tuple[bytes, bytes, bytes]]) -> list[bytes | None]:
    """`encrypt` for many, each given as padded, p256dh and auth; None where the keys are not valid.

    Each step is done for all messages before the next begins: a multiplication on the curve fills
    the processor's caches, and what comes between two of them takes longer than it does by itself.
    """
    private_keys = [ec.generate_private_key(_CURVE) for _ in messages]
    sender_points = [_point_of(private_key) for private_key in private_keys]
    browser_keys = [_browser_key_or_none(p256dh, auth) for _, p256dh, auth in messages]
    secrets = [
        None if browser_key is None else private_key.exchange(_ECDH, browser_key)
        for private_key, browser_key in zip(private_keys, browser_keys, strict=True)
    ]
    salts = [os.urandom(16) for _ in messages]
    keys = [
        None if secret is None else _content_keys(secret, p256dh, auth, sender_point, salt)
        for secret, (_, p256dh, auth), sender_point, salt in zip(
            secrets, messages, sender_points, salts, strict=True
        )
    ]
    return [
        None if key_and_nonce is None else _coded(padded, sender_point, salt, *key_and_nonce)
        for key_and_nonce, (padded, _, _), sender_point, salt in zip(
            keys, messages, sender_points, salts, strict=True
        )
    ]


def encrypt_with(
    padded: bytes, p256dh: bytes, auth: bytes, private_key: ec.EllipticCurvePrivateKey, salt: bytes
) -> bytes:
    """`encrypt` with a given key pair and salt, neither of which may ever be used twice."""
    sender_point = _point_of(private_key)
    secret = private_key.exchange(_ECDH, _browser_key(p256dh, auth))
    return _coded(
        padded, sender_point, salt, *_content_keys(secret, p256dh, auth, sender_point, salt)
    )


def _point_of(private_key: ec.EllipticCurvePrivateKey) -> bytes:
    return private_key.public_key().public_bytes(*_UNCOMPRESSED)


def _browser_key(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey:
    if not isinstance(p256dh, bytes):  # a damaged database may hold anything
        raise ValueError("the browser's key is not bytes")
    if not isinstance(auth, bytes) or len(auth) != _AUTH_LENGTH:
        raise ValueError("the auth secret is not 16 bytes long")
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)


def _browser_key_or_none(p256dh: bytes, auth: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        return _browser_key(p256dh, auth)
    except ValueError:
        return None


def _content_keys(
    secret: bytes, p256dh: bytes, auth: bytes, sender_point: bytes, salt: bytes
) -> tuple[bytes, bytes]:
    """The content-encryption key and the nonce (RFC 8291, section 3.4)."""
    shared = _hmac_sha256(auth, secret)
    ikm = _hmac_sha256(shared, _IKM_INFO + p256dh + sender_point + b"\1")
    key_material = _hmac_sha256(salt, ikm)
    key = _hmac_sha256(key_material, _KEY_INFO)[:16]
    nonce = _hmac_sha256(key_material, _NONCE_INFO)[:12]
    return key, nonce


def _coded(padded: bytes, sender_point: bytes, salt: bytes, key: bytes, nonce: bytes) -> bytes:
    """The header and the one record (RFC 8188, section 2.1)."""
    record = AESGCM(key).encrypt(nonce, padded, None)
    return salt + _RECORD_SIZE + _KEY_ID_LENGTH + sender_point + record

"""Push message bodies as a receiver reads them: the aes128gcm structure and its decryption.

Written apart from the sender on purpose: a mistake made there is not repeated here.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

POINT_BYTES = 65
"""An uncompressed P-256 point: 0x04, then x and y."""

_SALT_BYTES = 16
_TAG_BYTES = 16
_SMALLEST_RECORD = 18
_LAST_RECORD = b"\x02"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


class MalformedBodyError(ValueError):
    """The bytes are not a push message of RFC 8188 and RFC 8291."""


class DecryptionError(ValueError):
    """A well-formed push message that was not meant for this reader, or was damaged."""


@dataclass(frozen=True, slots=True)
class EncryptedBody:
    """The parts of an aes128gcm body (RFC 8188 section 2.1)."""

    salt: bytes
    record_size: int
    sender_key: bytes
    ciphertext: bytes


def split_body(body: bytes) -> EncryptedBody:
    """Take a body apart and hold it against RFC 8188 section 2.1 and RFC 8291 section 4.

    Raises MalformedBodyError. Whether the key lies on the curve is left to load_point, which costs
    more than everything here.
    """
    key_starts = _SALT_BYTES + 5
    if len(body) < key_starts:
        raise MalformedBodyError("the body is shorter than an aes128gcm header")
    record_size = int.from_bytes(body[_SALT_BYTES : _SALT_BYTES + 4], "big")
    if body[key_starts - 1] != POINT_BYTES:
        raise MalformedBodyError("the keyid is not 65 bytes long")
    sender_key = body[key_starts : key_starts + POINT_BYTES]
    ciphertext = body[key_starts + POINT_BYTES :]
    if not sender_key.startswith(b"\x04"):
        raise MalformedBodyError("the keyid is not an uncompressed point")
    if len(ciphertext) <= _TAG_BYTES:
        raise MalformedBodyError("the body ends before its first record does")
    if record_size < _SMALLEST_RECORD:
        raise MalformedBodyError("the record size is below 18")
    if record_size <= len(ciphertext):
        raise MalformedBodyError("the record size does not exceed the single record")
    return EncryptedBody(body[:_SALT_BYTES], record_size, sender_key, ciphertext)


def load_point(point: bytes) -> ec.EllipticCurvePublicKey:
    """Read an uncompressed P-256 point. Raises MalformedBodyError when it is none."""
    try:
        if len(point) != POINT_BYTES:
            raise ValueError("not the length of an uncompressed point")
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise MalformedBodyError("the key is not a point of P-256") from error


def decrypt(body: bytes, private_key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """Decrypt a push message as a browser does (RFC 8291 section 3.4, RFC 8188 section 2).

    Raises MalformedBodyError or DecryptionError.
    """
    parts = split_body(body)
    shared_secret = private_key.exchange(ec.ECDH(), load_point(parts.sender_key))
    key_info = b"WebPush: info\0" + encode_point(private_key.public_key()) + parts.sender_key
    input_key = _derive(shared_secret, auth, key_info, 32)
    content_key = _derive(input_key, parts.salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(input_key, parts.salt, b"Content-Encoding: nonce\0", 12)
    try:
        padded = AESGCM(content_key).decrypt(nonce, parts.ciphertext, None)
    except InvalidTag as error:
        raise DecryptionError("the authentication tag does not match") from error
    plaintext = padded.rstrip(b"\0")
    if not plaintext.endswith(_LAST_RECORD):
        raise DecryptionError("the record does not end in the delimiter of a last record")
    return plaintext[:-1]


def encode_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as an uncompressed point."""
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def b64url_encode(data: bytes) -> str:
    """base64url without padding, as every Web Push specification writes it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Read base64url strictly: no padding, no foreign characters. Raises ValueError."""
    if not _BASE64URL.match(text):
        raise ValueError("not base64url without padding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url without padding") from error


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)

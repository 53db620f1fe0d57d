"""Encryption, judged by the RFC's worked example and by two other implementations."""

import base64
import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pywebpush import WebPusher

from notifier.errors import InvalidInput
from notifier.push.message import MAX_PLAINTEXT, encrypt, encrypt_all, encrypt_with, pad


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(decode(text), "big"), ec.SECP256R1())


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


BROWSER_KEY = ec.generate_private_key(ec.SECP256R1())
P256DH = point_of(BROWSER_KEY)
AUTH = os.urandom(16)


def decrypted(body: bytes) -> bytes:
    plaintext: bytes = http_ece.decrypt(
        body, private_key=BROWSER_KEY, auth_secret=AUTH, version="aes128gcm"
    )
    return plaintext


def test_the_worked_example_of_rfc_8291() -> None:
    # RFC 8291, section 5 and appendix A.
    body = encrypt_with(
        pad(b"When I grow up, I want to be a watermelon"),
        p256dh=decode(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        auth=decode("BTBZMqHH6r4Tts7J_aSIgg"),
        private_key=private_key("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"),
        salt=decode("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert body == decode(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@given(plaintext=st.binary(max_size=MAX_PLAINTEXT))
def test_what_is_encrypted_another_implementation_decrypts(plaintext: bytes) -> None:
    assert decrypted(encrypt(pad(plaintext), P256DH, AUTH)) == plaintext


@pytest.mark.parametrize("size", [1, 600, MAX_PLAINTEXT])
def test_given_the_same_key_and_salt_two_other_implementations_write_the_same_bytes(
    size: int,
) -> None:
    plaintext = os.urandom(size)
    key, salt = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    ours = encrypt_with(pad(plaintext), P256DH, AUTH, key, salt)
    theirs = http_ece.encrypt(
        plaintext, salt=salt, private_key=key, dh=P256DH, auth_secret=AUTH, version="aes128gcm"
    )
    assert ours == theirs
    subscription = {
        "endpoint": "https://push.example/x",
        "keys": {
            "p256dh": base64.urlsafe_b64encode(P256DH).decode(),
            "auth": base64.urlsafe_b64encode(AUTH).decode(),
        },
    }
    reference = WebPusher(subscription).encode(plaintext)["body"]
    assert len(reference) == len(ours)
    assert reference[16:21] == ours[16:21]  # record size and key length
    assert decrypted(reference) == decrypted(ours) == plaintext


def test_no_two_messages_share_a_key_or_a_salt() -> None:
    padded = pad(b"the same")
    bodies = [encrypt(padded, P256DH, AUTH) for _ in range(50)]
    bodies += [body for body in encrypt_all([(padded, P256DH, AUTH)] * 50) if body]
    assert len({body[:16] for body in bodies}) == 100
    assert len({body[21:86] for body in bodies}) == 100


def test_a_message_is_for_one_browser_only() -> None:
    other = point_of(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(http_ece.ECEException):
        decrypted(encrypt(pad(b"x"), other, AUTH))
    with pytest.raises(http_ece.ECEException):
        decrypted(encrypt(pad(b"x"), P256DH, bytes(16)))


def test_the_longest_plaintext_is_2700_bytes() -> None:
    assert len(encrypt(pad(b"x" * 2700), P256DH, AUTH)) == 86 + 2700 + 1 + 16
    with pytest.raises(InvalidInput, match=r"takes 2,701 bytes; at most 2,700"):
        pad(b"x" * 2701)


@pytest.mark.parametrize(
    ("p256dh", "auth"),
    [
        (b"", AUTH),
        (P256DH[:-1], AUTH),
        (P256DH[:-1] + bytes([P256DH[-1] ^ 1]), AUTH),
        (P256DH, b""),
        (P256DH, AUTH[:-1]),
        (P256DH, AUTH + b"\0"),
    ],
    ids=["no key", "short key", "off the curve", "no auth", "short auth", "long auth"],
)
def test_keys_of_no_browser_are_refused(p256dh: bytes, auth: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        encrypt(pad(b"x"), p256dh, auth)
    assert AUTH.hex() not in str(refused.value)
    messages = [(pad(b"1"), P256DH, AUTH), (pad(b"x"), p256dh, auth), (pad(b"2"), P256DH, AUTH)]
    first, none, last = encrypt_all(messages)
    assert none is None
    assert first is not None
    assert last is not None
    assert (decrypted(first), decrypted(last)) == (b"1", b"2")

"""The receiving side of RFC 8291, against its worked example and http-ece."""

import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from notifier.rehearsal.content_coding import (
    DecryptionError,
    MalformedBodyError,
    b64url_decode,
    decrypt,
    split_body,
)
from notifier.rehearsal.readers import SimulatedReader

# RFC 8291, section 5 and appendix A
EXAMPLE_BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
    "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
    "lcy4a-fN"
)
EXAMPLE_PRIVATE_KEY = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
EXAMPLE_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(b64url_decode(text), "big"), ec.SECP256R1())


def encrypt(reader: SimulatedReader, plaintext: bytes, **options: object) -> bytes:
    keys = reader.subscription_json()["keys"]
    return http_ece.encrypt(
        plaintext,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=b64url_decode(keys["p256dh"]),
        auth_secret=b64url_decode(keys["auth"]),
        **options,
    )


def test_it_reads_the_worked_example_of_the_rfc() -> None:
    plaintext = decrypt(
        b64url_decode(EXAMPLE_BODY), private_key(EXAMPLE_PRIVATE_KEY), b64url_decode(EXAMPLE_AUTH)
    )
    assert plaintext == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize("length", [1, 100, 3993])
def test_it_reads_what_another_library_wrote(length: int) -> None:
    reader = SimulatedReader("https://push.example/1")
    plaintext = os.urandom(length)
    assert reader.decrypt(encrypt(reader, plaintext)) == plaintext


def test_a_message_for_another_reader_cannot_be_read() -> None:
    body = encrypt(SimulatedReader("https://push.example/1"), b"Polls have closed")
    with pytest.raises(DecryptionError):
        SimulatedReader("https://push.example/2").decrypt(body)


def test_a_damaged_message_cannot_be_read() -> None:
    reader = SimulatedReader("https://push.example/1")
    body = encrypt(reader, b"Polls have closed")
    with pytest.raises(DecryptionError):
        reader.decrypt(body[:-1] + bytes([body[-1] ^ 1]))


def with_record_size(body: bytes, size: int) -> bytes:
    return body[:16] + size.to_bytes(4, "big") + body[20:]


GOOD_BODY = b64url_decode(EXAMPLE_BODY)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (GOOD_BODY[:20], "shorter than"),
        (GOOD_BODY[:20] + b"\x40" + GOOD_BODY[21:], "not 65 bytes"),
        (GOOD_BODY[:21] + b"\x02" + GOOD_BODY[22:], "uncompressed"),
        (GOOD_BODY[: 21 + 65 + 16], "ends before"),
        (with_record_size(GOOD_BODY, 17), "below 18"),
        (with_record_size(GOOD_BODY, len(GOOD_BODY) - 86), "does not exceed"),
    ],
)
def test_a_body_that_is_no_push_message_is_told_apart(body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedBodyError, match=complaint):
        split_body(body)


def test_a_key_beside_the_curve_is_refused() -> None:
    reader = SimulatedReader("https://push.example/1")
    body = bytearray(encrypt(reader, b"Polls have closed"))
    body[85] ^= 1
    with pytest.raises(MalformedBodyError, match="P-256"):
        reader.decrypt(bytes(body))


@pytest.mark.parametrize("text", ["AA==", "A", "A+", "A/", "A A"])
def test_base64url_is_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        b64url_decode(text)

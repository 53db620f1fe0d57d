"""Every check of the push route, with real requests."""

import time
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from rehearsal_publication import HEADLINE, SUBJECT, Publication

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.content_coding import b64url_decode, b64url_encode, encode_point
from notifier.rehearsal.validation import VapidChecker, VapidError

HOUR = 3600
OTHER_KEY = b64url_encode(encode_point(ec.generate_private_key(ec.SECP256R1()).public_key()))

Subscription = dict[str, Any]


def assert_refused(response: requests.Response, status: int, errno: int) -> None:
    assert response.status_code == status, response.text
    error = response.json()
    assert (error["code"], error["errno"]) == (status, errno)
    assert error["error"]
    assert error["message"]


def test_a_message_of_another_library_is_accepted_and_read(
    control: PushServiceControl, publication: Publication, reader: Subscription
) -> None:
    response = publication.push(reader, ttl=90, Urgency="high", Topic="election")
    assert response.status_code == 201
    assert response.headers["Location"].startswith(f"{control.origin}/m/")
    assert response.headers["TTL"] == "90"
    (message,) = control.messages(reader["endpoint"])
    assert message["data"] == HEADLINE
    assert (message["ttl"], message["urgency"], message["topic"]) == (90, "high", "election")


def test_the_origin_is_the_one_that_the_request_names(
    control: PushServiceControl, publication: Publication, reader: Subscription
) -> None:
    by_name = reader["endpoint"].replace("127.0.0.1", "localhost")
    origin = control.origin.replace("127.0.0.1", "localhost")
    assert publication.push(reader | {"endpoint": by_name}).status_code == 201
    elsewhere = publication.authorization(aud=origin)
    assert_refused(publication.post(reader, Authorization=elsewhere), 401, 109)


@pytest.mark.parametrize("ttl", [None, "", "soon", "1.5", "60s", "0x10"])
def test_a_ttl_must_be_a_number(
    publication: Publication, reader: Subscription, ttl: str | None
) -> None:
    assert_refused(publication.post(reader, TTL=ttl), 400, 111)


def test_a_ttl_must_not_be_negative(publication: Publication, reader: Subscription) -> None:
    assert_refused(publication.post(reader, TTL="-1"), 400, 112)


def test_a_ttl_is_capped_at_30_days(publication: Publication, reader: Subscription) -> None:
    response = publication.post(reader, TTL=str(31 * 24 * HOUR))
    assert response.status_code == 201
    assert response.headers["TTL"] == str(30 * 24 * HOUR)


@pytest.mark.parametrize("topic", ["t" * 33, "two words", "", "dot.ted", "padded="])
def test_a_topic_must_be_short_base64url(
    publication: Publication, reader: Subscription, topic: str
) -> None:
    assert_refused(publication.post(reader, Topic=topic), 400, 113)


def test_a_topic_may_have_32_characters(publication: Publication, reader: Subscription) -> None:
    assert publication.post(reader, Topic="-_" * 16).status_code == 201


def test_an_urgency_must_be_known(publication: Publication, reader: Subscription) -> None:
    assert publication.post(reader, Urgency="very-low").status_code == 201
    assert_refused(publication.post(reader, Urgency="breaking"), 400, 999)


@pytest.mark.parametrize("encoding", [None, "aesgcm", "gzip", "identity"])
def test_a_body_must_say_that_it_is_aes128gcm(
    publication: Publication, reader: Subscription, encoding: str | None
) -> None:
    assert_refused(publication.post(reader, Content_Encoding=encoding), 400, 110)


@pytest.mark.parametrize("damage", ["short header", "record size", "keyid", "off the curve"])
def test_a_body_must_be_one_aes128gcm_record(
    control: PushServiceControl, publication: Publication, reader: Subscription, damage: str
) -> None:
    body = bytearray(publication.encrypt(reader))
    if damage == "short header":
        del body[20:]
    elif damage == "record size":
        body[16:20] = bytes(4)
    elif damage == "keyid":
        body[20] = 64
    else:
        body[85] ^= 1
    assert_refused(publication.post(reader, bytes(body)), 400, 110)
    assert control.report()["body_failures"] == 1


def test_a_message_may_have_no_data(
    control: PushServiceControl, publication: Publication, reader: Subscription
) -> None:
    assert publication.post(reader, b"", Content_Encoding=None).status_code == 201
    assert control.messages(reader["endpoint"])[0]["data"] is None


@pytest.mark.parametrize("size", [4097, 100_000, 2_000_000])
def test_a_body_has_at_most_4096_bytes(
    publication: Publication, reader: Subscription, size: int
) -> None:
    assert_refused(publication.post(reader, bytes(size)), 413, 104)


def test_a_body_may_have_4096_bytes(publication: Publication, reader: Subscription) -> None:
    # 86 bytes of header, 16 of tag, one delimiter
    body = publication.encrypt(reader, "x" * (4096 - 86 - 16 - 1))
    assert len(body) == 4096
    assert publication.post(reader, body).status_code == 201


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": None},
        {"aud": "https://push.example"},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("nan")},
        {"exp": int(time.time()) - 1},
        {"exp": int(time.time()) + 25 * HOUR},
        {"sub": None},
        {"sub": ""},
        {"sub": "ops@news.example"},
        {"sub": "mailto: <ops@news.example>"},
        {"sub": "mailto:ops@localhost"},
        {"sub": "http://news.example"},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
        {"header": {"typ": "JWT"}},
        {"k": OTHER_KEY},
        {"k": OTHER_KEY[:-4]},
        {"k": "no key"},
    ],
    # Keys and times differ from run to run, and tests that run side by side need the same names.
    ids=lambda claims: next(iter(claims)),
)
def test_credentials_must_be_right_in_every_part(
    control: PushServiceControl,
    publication: Publication,
    reader: Subscription,
    claims: dict[str, Any],
) -> None:
    authorization = publication.authorization(**claims)
    assert_refused(publication.post(reader, Authorization=authorization), 401, 109)
    assert control.report()["vapid_failures"] == 1


@pytest.mark.parametrize("subject", [SUBJECT, "https://news.example/contact"])
def test_a_subject_is_an_address_or_a_page(
    publication: Publication, reader: Subscription, subject: str
) -> None:
    authorization = publication.authorization(sub=subject)
    assert publication.post(reader, Authorization=authorization).status_code == 201


@pytest.mark.parametrize(
    "authorization", [None, "", "vapid", "Bearer x", "WebPush x", "vapid t=x, k=y", "vapid t=a.b.c"]
)
def test_credentials_must_be_vapid(
    publication: Publication, reader: Subscription, authorization: str | None
) -> None:
    assert_refused(publication.post(reader, Authorization=authorization), 401, 109)


def test_a_signature_must_fit_what_it_signs(publication: Publication, reader: Subscription) -> None:
    good, other = publication.authorization(), publication.authorization(exp=2 * 10**9)
    signed = other.partition(", ")[0].rpartition(".")[0]
    forged = f"{signed}.{good.rpartition('.')[2]}"
    assert_refused(publication.post(reader, Authorization=forged), 401, 109)


def test_a_good_token_of_another_publication_is_refused(
    control: PushServiceControl, publication: Publication, reader: Subscription
) -> None:
    stranger = Publication(control.origin)
    theirs = stranger.authorization()
    (their_reader,) = control.add_readers(1, vapid_public_key=stranger.public_key)
    # Known to be good by now, but for another subscription.
    assert publication.post(their_reader, Authorization=theirs).status_code == 201
    assert_refused(publication.post(reader, Authorization=theirs), 401, 109)


def test_a_subscription_without_a_key_needs_no_credentials(
    control: PushServiceControl, publication: Publication
) -> None:
    (anyone,) = control.add_readers(1)
    assert publication.post(anyone, Authorization=None).status_code == 201
    assert_refused(publication.post(anyone, Authorization="vapid t=x, k=y"), 401, 109)


@pytest.mark.parametrize("token", ["", "nobody", "A" * 30, "A" * 29 + "/", "%00"])
def test_an_unknown_endpoint_is_not_found(
    publication: Publication, reader: Subscription, token: str
) -> None:
    unknown = f"{publication.origin}/wpush/v2/{token}"
    response = publication.post(reader | {"endpoint": unknown}, b"")
    assert_refused(response, 404, 102)


def test_a_token_with_one_character_changed_is_unknown(
    publication: Publication, reader: Subscription
) -> None:
    last = "A" if reader["endpoint"][-2] != "A" else "B"
    changed = reader["endpoint"][:-2] + last + reader["endpoint"][-1]
    assert_refused(publication.post(reader | {"endpoint": changed}, b""), 404, 102)


def test_an_endpoint_takes_only_post(publication: Publication, reader: Subscription) -> None:
    assert publication.session.get(reader["endpoint"], timeout=30).status_code == 405


def test_a_token_that_expires_is_refused_though_it_was_good_before() -> None:
    publication = Publication("http://127.0.0.1:9999")
    expires = int(time.time()) + HOUR
    authorization = publication.authorization(exp=expires)
    checker = VapidChecker()

    def check(now: float) -> None:
        checker.check(
            authorization,
            origin=publication.origin,
            subscribed_key=b64url_decode(publication.public_key),
            now=now,
        )

    check(expires - 1)
    for now, complaint in [(expires, "has expired"), (expires - 24 * HOUR - 1, "24 hours")]:
        with pytest.raises(VapidError, match=complaint):
            check(now)
    publication.session.close()

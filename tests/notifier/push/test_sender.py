"""From a target to an outcome, through a real server, judged by other implementations."""

import base64
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import http_ece
import py_vapid
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scripted_server import ScriptedServer

from notifier.endpoints import EndpointPolicy
from notifier.errors import InvalidInput
from notifier.push import (
    Accepted,
    Gone,
    Message,
    Outcome,
    Rejected,
    Sender,
    Target,
    Throttled,
    Transport,
    Unreachable,
    VapidKey,
    VapidSigner,
    pad,
)

BROWSER_KEY = ec.generate_private_key(ec.SECP256R1())
P256DH = BROWSER_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
AUTH = os.urandom(16)
OLD_KEY, NEW_KEY = VapidKey.generate(), VapidKey.generate()
SUBJECT = "mailto:newsdesk@example.com"
MESSAGE = Message(pad(b'{"notification": {}}'), timedelta(hours=4), "high", "story-1")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def sender(push_server: ScriptedServer) -> Iterator[Sender]:
    sender = make_sender(push_server)
    yield sender
    sender.close()


def make_sender(push_server: ScriptedServer, concurrency: int = 10) -> Sender:
    return Sender(
        Transport(concurrency=concurrency),
        VapidSigner({1: OLD_KEY, 2: NEW_KEY}, SUBJECT),
        EndpointPolicy([push_server.origin]),
    )


def target(url: str, vapid_key_id: int = 1) -> Target:
    return Target(url, P256DH, AUTH, vapid_key_id)


def send(sender: Sender, to: Target, message: Message = MESSAGE) -> Outcome:
    sender.submit("token", to, message)
    outcomes: list[tuple[object, Outcome]] = []
    while sender.in_flight:
        outcomes += sender.poll(timedelta(seconds=10))
    [(token, outcome)] = outcomes
    assert token == "token"
    return outcome


def claims_of(authorization: str) -> dict[str, object]:
    assert py_vapid.Vapid02.verify(authorization)
    claims = authorization.partition("t=")[2].split(".")[1]
    decoded: dict[str, object] = json.loads(
        base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))
    )
    return decoded


def test_what_a_push_service_gets_is_a_push_message(
    sender: Sender, push_server: ScriptedServer
) -> None:
    assert send(sender, target(push_server.origin + "/wpush/v2/abc")) == Accepted()
    [request] = push_server.received
    assert request.path == "/wpush/v2/abc"
    assert request.headers["ttl"] == "14400"
    assert request.headers["urgency"] == "high"
    assert request.headers["topic"] == "story-1"
    assert request.headers["content-encoding"] == "aes128gcm"
    assert request.headers["content-type"] == "application/octet-stream"
    plaintext = http_ece.decrypt(
        request.body, private_key=BROWSER_KEY, auth_secret=AUTH, version="aes128gcm"
    )
    assert plaintext == b'{"notification": {}}'
    claims = claims_of(request.headers["authorization"])
    assert (claims["aud"], claims["sub"]) == (push_server.origin, SUBJECT)
    left = datetime.fromtimestamp(claims["exp"], UTC) - datetime.now(UTC)  # type: ignore[arg-type]
    assert timedelta(hours=11) < left <= timedelta(hours=12)


def test_each_subscription_is_signed_with_the_key_it_was_made_with(
    sender: Sender, push_server: ScriptedServer
) -> None:
    send(sender, target(push_server.origin + "/old", 1))
    send(sender, target(push_server.origin + "/new", 2))
    for request, key in zip(push_server.received, (OLD_KEY, NEW_KEY), strict=True):
        assert request.headers["authorization"].endswith(f",k={key.application_server_key}")


def test_the_answers_become_outcomes(sender: Sender, push_server: ScriptedServer) -> None:
    expected: dict[str, Outcome] = {
        push_server.answer("/201", 201): Accepted(),
        push_server.answer("/302", 302, Location=push_server.origin + "/201"): Rejected(302),
        push_server.answer("/410", 410): Gone(),
        push_server.answer("/413", 413): Rejected(413, too_large=True),
        push_server.answer("/429", 429, Retry_After="30"): Throttled(timedelta(seconds=30)),
        push_server.answer("/503", 503, Retry_After="120"): Unreachable(timedelta(seconds=120)),
        push_server.answer_raw("/reset", b""): Unreachable(None, ambiguous=True),
    }
    for url in expected:
        sender.submit(url, target(url), MESSAGE)
    outcomes: list[tuple[object, Outcome]] = []
    while sender.in_flight:
        outcomes += sender.poll(timedelta(seconds=10))
    assert dict(outcomes) == expected
    assert len(outcomes) == len(expected)


@pytest.mark.parametrize(
    "bad",
    [
        Target("https://127.0.0.1/x", P256DH, AUTH, 1),
        Target("http://169.254.169.254/latest", P256DH, AUTH, 1),
        Target("", P256DH, AUTH, 1),
        Target("{origin}/x", P256DH[:-1], AUTH, 1),
        Target("{origin}/x", bytes(65), AUTH, 1),
        Target("{origin}/x", P256DH, AUTH[:-1], 1),
        Target("{origin}/x", P256DH, AUTH, 3),
        Target("{origin}/x\r\nTTL: 1", P256DH, AUTH, 1),
        Target(None, P256DH, AUTH, 1),  # type: ignore[arg-type]
        Target(b"{origin}/x", P256DH, AUTH, 1),  # type: ignore[arg-type]
        Target("{origin}/x", None, AUTH, 1),  # type: ignore[arg-type]
        Target("{origin}/x", P256DH, "a" * 16, 1),  # type: ignore[arg-type]
        Target("{origin}/x", P256DH, AUTH, None),  # type: ignore[arg-type]
    ],
)
def test_a_bad_row_is_rejected_without_a_send_and_hurts_nobody_else(
    sender: Sender, push_server: ScriptedServer, bad: Target
) -> None:
    if isinstance(bad.endpoint, str):
        bad = bad._replace(endpoint=bad.endpoint.replace("{origin}", push_server.origin))
    sender.submit("bad", bad, MESSAGE)
    sender.submit("good", target(push_server.origin + "/good"), MESSAGE)
    assert (sender.in_flight, sender.free) == (2, 8)
    outcomes: list[tuple[object, Outcome]] = []
    while sender.in_flight:
        outcomes += sender.poll(timedelta(seconds=10))
    assert dict(outcomes) == {"bad": Rejected(0), "good": Accepted()}
    assert [request.path for request in push_server.received] == ["/good"]


def test_bad_rows_count_as_in_flight_until_they_are_polled(push_server: ScriptedServer) -> None:
    sender = make_sender(push_server, concurrency=2)
    sender.submit(1, target("nonsense"), MESSAGE)
    sender.submit(2, target("nonsense"), MESSAGE)
    assert sender.free == 0
    with pytest.raises(RuntimeError):
        sender.submit(3, target("nonsense"), MESSAGE)
    assert sender.poll(timedelta(hours=1)) == [(1, Rejected(0)), (2, Rejected(0))]
    assert (sender.in_flight, sender.free) == (0, 2)
    sender.close()


def test_what_no_poll_has_sent_can_be_recalled(sender: Sender, push_server: ScriptedServer) -> None:
    for number in range(4):
        sender.submit(number, target(f"{push_server.origin}/{number}"), MESSAGE)
    assert sender.recall(lambda number: number != 2) == [0, 1, 3]
    assert (sender.in_flight, sender.free) == (1, 9)
    assert sender.poll(timedelta(seconds=10)) == [(2, Accepted())]
    assert [request.path for request in push_server.received] == ["/2"]


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_makes_us_sign_afresh_at_most_once_a_minute(
    push_server: ScriptedServer, status: int
) -> None:
    sender = make_sender(push_server)
    url = push_server.answer("/refused", status)
    with time_machine.travel(NOW, tick=False) as clock:
        for at in (timedelta(0), timedelta(seconds=59), timedelta(minutes=2), timedelta(minutes=3)):
            clock.move_to(NOW + at)
            assert send(sender, target(url)) == Rejected(status)
    sender.close()
    first, second, third, fourth = (
        request.headers["authorization"] for request in push_server.received
    )
    assert first == second == third  # too young when they were refused, and then not
    assert fourth != third
    assert claims_of(fourth)["exp"] == int((NOW + timedelta(hours=12, minutes=2)).timestamp())


def test_a_message_without_a_topic_has_none(sender: Sender, push_server: ScriptedServer) -> None:
    send(sender, target(push_server.origin + "/x"), Message(pad(b"x"), timedelta(seconds=1.9)))
    [request] = push_server.received
    assert "topic" not in request.headers
    assert (request.headers["ttl"], request.headers["urgency"]) == ("1", "normal")


@pytest.mark.parametrize(
    "topic", ["", "x" * 33, "a b", "a\r\nTTL: 0", "a+b", "a=", "\u00e9", "a\n"]
)
def test_a_topic_is_base64url(topic: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Message(b"", timedelta(0), "high", topic)
    assert refused.value.field == "topic"


@pytest.mark.parametrize("urgency", ["", "HIGH", "urgent", "high\r\nTTL: 0"])
def test_an_urgency_is_one_of_four(urgency: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Message(b"", timedelta(0), urgency)
    assert refused.value.field == "urgency"


def test_a_time_to_live_is_not_negative() -> None:
    with pytest.raises(InvalidInput) as refused:
        Message(b"", timedelta(seconds=-1))
    assert refused.value.field == "ttl"


def test_what_identifies_a_reader_is_not_printed() -> None:
    printed = repr(target("https://fcm.googleapis.com/secret-capability"))
    assert "secret-capability" not in printed
    assert repr(AUTH) not in printed

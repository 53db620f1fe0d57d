"""One message to one subscription, with all that was said: is it us, or the push service?"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pycurl
import pywebpush
import requests

from notifier.endpoints import EndpointPolicy, encode_key
from notifier.push.message import pad
from notifier.push.outcome import Answer, Outcome, Unreachable, outcome_of
from notifier.push.sender import Message, Sender, Target
from notifier.push.transport import Transport
from notifier.push.vapid import VapidKey, VapidSigner

TIMEOUT = timedelta(seconds=10)
LONGEST_TEXT = 2000


@dataclass(slots=True)
class Transcript:
    """What went over the wire: header lines of request and answer, and the answer's text.

    `connection` is what libcurl says of making it, TLS and certificates included.
    The request's path and tokens, which are secrets, are replaced by an ellipsis.
    """

    connection: list[str] = field(default_factory=list)
    request: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    text: str = ""
    outcome: Outcome | None = None


def send_fast(
    target: Target,
    plaintext: bytes,
    signer: VapidSigner,
    policy: EndpointPolicy,
    *,
    ttl: timedelta,
    connect_to: tuple[str, ...] = (),
    ca_file: Path | None = None,
) -> Transcript:
    """Send by the way that alerts go. Raises InvalidInput for an unacceptable endpoint."""
    policy.check(target.endpoint)
    transcript = Transcript()
    transport = Transport(
        concurrency=1,
        timeout=TIMEOUT,
        connect_to=connect_to,
        ca_file=ca_file,
        trace=_recorder(transcript, urlsplit(target.endpoint).path),
    )
    sender: Sender[None] = Sender(transport, signer, policy)
    try:
        sender.submit(None, target, Message(pad(plaintext), ttl, urgency="normal"))
        while sender.in_flight:
            for _, transcript.outcome in sender.poll(TIMEOUT):
                pass
    finally:
        sender.close()
    return transcript


def send_with_pywebpush(
    target: Target,
    plaintext: bytes,
    key: VapidKey,
    subject: str,
    policy: EndpointPolicy,
    *,
    ttl: timedelta,
) -> Transcript:
    """Send by the reference implementation. Raises InvalidInput as `send_fast` does."""
    push_service = policy.check(target.endpoint).push_service
    transcript = Transcript()
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = pywebpush.webpush(
                {
                    "endpoint": target.endpoint,
                    "keys": {"p256dh": encode_key(target.p256dh), "auth": encode_key(target.auth)},
                },
                data=plaintext.decode(),
                vapid_private_key=key.as_vapid(),
                vapid_claims={"sub": subject},
                ttl=int(ttl.total_seconds()),
                timeout=TIMEOUT.total_seconds(),
                requests_session=session,
            )
        except pywebpush.WebPushException as error:
            answer = error.response
        except requests.RequestException as error:
            transcript.text = type(error).__name__  # its own text names the endpoint
            answer = None
    if answer is None:
        transcript.outcome = Unreachable(None)
        return transcript
    sent = answer.request.headers.items()
    transcript.request = ["POST …", *(_discreet(f"{name}: {value}") for name, value in sent)]
    transcript.answer = [f"HTTP {answer.status_code} {answer.reason}"]
    transcript.answer += [f"{name}: {value}" for name, value in answer.headers.items()]
    transcript.text = answer.text[:LONGEST_TEXT]
    transcript.outcome = outcome_of(
        Answer(
            answer.status_code,
            answer.headers.get("Retry-After"),
            answer.headers.get("X-WNS-Status"),
        ),
        push_service,
        datetime.now(UTC),
    )
    return transcript


def sample_plaintext(publication: str, url: str) -> bytes:
    """A message that every service worker of ours shows."""
    data = {"url": url, "alert": "test", "story": "test", "revision": 1, "kind": "breaking"}
    return json.dumps(
        {
            "notification": {
                "title": publication,
                "body": "This is a test. Alerts reach this browser.",
                "tag": "test",
                "data": data,
            }
        },
        ensure_ascii=False,
    ).encode()


def _recorder(transcript: Transcript, secret_path: str) -> Callable[[int, bytes], None]:
    def record(kind: int, data: bytes) -> None:
        text = data.decode("latin-1")
        if kind == pycurl.INFOTYPE_HEADER_OUT:
            transcript.request += [_discreet(line) for line in text.splitlines() if line]
        elif kind == pycurl.INFOTYPE_HEADER_IN:
            transcript.answer += [line for line in text.splitlines() if line]
        elif kind == pycurl.INFOTYPE_TEXT:
            # libcurl tells of an HTTP/2 request's headers once more here.
            if secret_path not in text and "authorization:" not in text.lower():
                transcript.connection.append(text.strip())
        elif kind == pycurl.INFOTYPE_DATA_IN:
            transcript.text = (transcript.text + text)[:LONGEST_TEXT]

    return record


def _discreet(line: str) -> str:
    if line.startswith(("POST ", ":path")):
        return f"{line.split(' ', 1)[0]} …"
    name, separator, value = line.partition(":")
    if name.lower() != "authorization":
        return line
    token = value.partition("t=")[2].partition(",")[0].strip()
    return f"{name}{separator} vapid with {_claims(token)}"


def _claims(token: str) -> str:
    """The claims of a token, which say what a push service checks; without its signature."""
    try:
        part = token.split(".")[1]
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
    except (IndexError, ValueError):
        return "an unreadable token"

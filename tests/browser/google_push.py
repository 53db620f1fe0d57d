"""A local stand-in for the Google services behind Chromium's push: from check-in to delivery.

Chromium checks in to get a device id, registers each subscription for a token, and keeps a TLS
connection open (the Mobile Connection Server protocol, MCS) on which push messages come in.
Senders POST to `https://jmt17.google.com/fcm/send/<token>`, the host that Debian's build hands
out; `connect_to` brings them here.
"""

import asyncio
import contextlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from aiohttp import web
from background import BackgroundLoop
from browser import PushRoute
from certificates import make_server_certificate
from protobuf import Fixed64, Value, decode, encode, encode_varint
from vapid_check import vapid_problem

HOST = "jmt17.google.com"
LARGEST_BODY = 4096

MCS_VERSION = 41
HEARTBEAT_PING, HEARTBEAT_ACK, LOGIN_REQUEST, LOGIN_RESPONSE, CLOSE = 0, 1, 2, 3, 4
DATA_MESSAGE = 8


@dataclass
class PushMessage:
    """What a sender posted."""

    body: bytes = field(repr=False)
    content_encoding: str
    ttl: int
    topic: str | None
    urgency: str | None


@dataclass
class _Device:
    """One Chromium profile."""

    id: int
    security_token: int
    connection: asyncio.StreamWriter | None = None
    waiting: list[tuple["_Registration", PushMessage]] = field(default_factory=list)
    """Messages that came while it was away."""
    unconfirmed: dict[str, bytes] = field(default_factory=dict)
    """Messages that were sent to it, by their persistent ids, until a login says that it has them:
    Chromium connects anew now and then, and what is on its way at that moment is lost."""

    @property
    def authorization(self) -> str:
        return f"AidLogin {self.id}:{self.security_token}"


@dataclass
class _Registration:
    """One subscription."""

    device: _Device
    app: str
    subtype: str
    sender: str
    """The applicationServerKey, in base64url without padding."""
    deleted: bool = False


class GooglePush:
    """Serves any number of Chromium profiles, on 127.0.0.1 only."""

    origin = f"https://{HOST}"

    def __init__(self) -> None:
        self._devices: dict[int, _Device] = {}
        self._registrations: dict[str, _Registration] = {}
        self.accepted: list[PushMessage] = []
        """Every push message that was answered with 201."""
        self._directory = TemporaryDirectory(prefix="google-push-")
        self._certificate = make_server_certificate(Path(self._directory.name), ["localhost", HOST])
        self._loop = BackgroundLoop("google-push")
        self._loop.run(self._start())

    @property
    def ca_file(self) -> Path:
        """The authority to trust when posting to `origin`."""
        return self._certificate.ca_file

    @property
    def connect_to(self) -> str:
        """For CURLOPT_CONNECT_TO: where the host of `origin` is really found."""
        return f"{HOST}:443:127.0.0.1:{self._https_port}"

    @property
    def route(self) -> PushRoute:
        return PushRoute(self.origin, self.connect_to, self.ca_file)

    def chromium_arguments(self) -> list[str]:
        """The command line that makes Chromium use this service instead of Google's."""
        return [
            f"--gcm-checkin-url=http://localhost:{self._http_port}/checkin",
            f"--gcm-registration-url=http://localhost:{self._http_port}/register",
            f"--gcm-mcs-endpoint=https://localhost:{self._mcs_port}",
            f"--ignore-certificate-errors-spki-list={self._certificate.key_hash}",
        ]

    def close(self) -> None:
        self._loop.run(self._stop())
        self._loop.close()
        self._directory.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_post("/checkin", self._check_in)
        application.router.add_post("/register", self._register)
        application.router.add_post("/fcm/send/{token}", self._receive)
        tls = self._certificate.server_context()
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self._http_port, self._https_port = (address[1] for address in self._runner.addresses)
        self._mcs = await asyncio.start_server(self._serve_device, "127.0.0.1", 0, ssl=tls)
        self._mcs_port = self._mcs.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._mcs.close()
        for device in self._devices.values():
            if device.connection:
                device.connection.transport.abort()
        await self._runner.cleanup()

    # What Chromium asks over HTTP.

    async def _check_in(self, request: web.Request) -> web.Response:
        """Makes a device id, or confirms the one that a known profile names."""
        known_id = _number(decode(await request.read()), 2)
        device = self._devices.get(known_id)
        if device is None:
            device = _Device(id=secrets.randbits(62) | 1, security_token=secrets.randbits(62) | 1)
            self._devices[device.id] = device
        answer = encode(
            (1, True),  # stats_ok
            (3, _milliseconds_now()),
            (7, Fixed64(device.id)),
            (8, Fixed64(device.security_token)),
        )
        return web.Response(body=answer, content_type="application/x-protobuffer")

    async def _register(self, request: web.Request) -> web.Response:
        """Makes a token for a subscription, or deletes those that it had."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        device = self._devices.get(int(form["device"]))
        if device is None or request.headers.get("Authorization") != device.authorization:
            return web.Response(text="Error=AUTHENTICATION_FAILED")
        subtype = form.get("X-subtype", "")
        if form.get("delete") == "true":
            for registration in self._registrations.values():
                if registration.device is device and registration.subtype == subtype:
                    registration.deleted = True
            return web.Response(text=f"token={form['app']}")
        token = secrets.token_urlsafe(32)
        self._registrations[token] = _Registration(device, form["app"], subtype, form["sender"])
        return web.Response(text=f"token={token}")

    # What a sender posts (RFC 8030 section 5).

    async def _receive(self, request: web.Request) -> web.Response:
        registration = self._registrations.get(request.match_info["token"])
        if registration is None:
            return web.Response(status=404, text="no such subscription")
        if registration.deleted:
            return web.Response(status=410, text="unsubscribed")
        problem = vapid_problem(
            request.headers.get("Authorization", ""), registration.sender, self.origin
        )
        if problem:
            return web.Response(status=403, text=problem)
        if not request.headers.get("TTL", "").isdecimal():
            return web.Response(status=400, text="TTL is not a number of seconds")
        message = PushMessage(
            body=await request.read(),
            content_encoding=request.headers.get("Content-Encoding", ""),
            ttl=int(request.headers["TTL"]),
            topic=request.headers.get("Topic"),
            urgency=request.headers.get("Urgency"),
        )
        if message.body and message.content_encoding != "aes128gcm":
            return web.Response(status=400, text="Content-Encoding is not aes128gcm")
        if len(message.body) > LARGEST_BODY:
            return web.Response(status=413, text=f"the body is over {LARGEST_BODY} bytes")
        self.accepted.append(message)
        await self._deliver(registration, message)
        location = f"{self.origin}/message/{secrets.token_urlsafe(8)}"
        return web.Response(status=201, headers={"Location": location, "TTL": str(message.ttl)})

    async def _deliver(self, registration: _Registration, message: PushMessage) -> None:
        """Sends it down the device's connection; for a device that is away it waits."""
        device = registration.device
        if device.connection:
            persistent_id = secrets.token_hex(8)
            stanza = _data_message(registration, message, persistent_id)
            device.unconfirmed[persistent_id] = stanza
            with contextlib.suppress(ConnectionError):
                await _send(device.connection, DATA_MESSAGE, stanza)
            return
        if message.topic:  # replaces an earlier one that nobody has seen
            device.waiting = [
                (other, earlier)
                for other, earlier in device.waiting
                if other is not registration or earlier.topic != message.topic
            ]
        if message.ttl:
            device.waiting.append((registration, message))

    # The connection on which Chromium receives.

    async def _serve_device(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        device: _Device | None = None
        try:
            await reader.readexactly(1)  # the version that the client speaks
            writer.write(bytes([MCS_VERSION]))
            tag = None
            while tag != CLOSE:
                tag, stanza = await _read_stanza(reader)
                if tag == LOGIN_REQUEST:
                    device = await self._log_in(stanza, writer)
                elif tag == HEARTBEAT_PING:
                    await _send(writer, HEARTBEAT_ACK, b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the browser has closed
        finally:
            if device and device.connection is writer:
                device.connection = None
            writer.close()

    async def _log_in(self, stanza: bytes, writer: asyncio.StreamWriter) -> _Device | None:
        request = decode(stanza)
        device = self._devices.get(int(_text(request, 3)))
        if device is None or _text(request, 5) != str(device.security_token):
            writer.close()
            return None
        answer = encode((1, _text(request, 1)), (8, _milliseconds_now()))
        await _send(writer, LOGIN_RESPONSE, answer)
        device.connection = writer
        for received in request.get(10, []):
            device.unconfirmed.pop(received.decode() if isinstance(received, bytes) else "", None)
        for stanza in list(device.unconfirmed.values()):
            await _send(writer, DATA_MESSAGE, stanza)
        waiting, device.waiting = device.waiting, []
        for registration, message in waiting:
            await self._deliver(registration, message)
        return device


def _data_message(registration: _Registration, message: PushMessage, persistent_id: str) -> bytes:
    """A DataMessageStanza; the body travels as it was posted, still encrypted."""
    return encode(
        (2, secrets.token_hex(8)),  # id
        (3, registration.sender),
        (5, registration.app),
        (7, encode((1, "subtype"), (2, registration.subtype))),
        (7, encode((1, "content-encoding"), (2, message.content_encoding))),
        (9, persistent_id),
        (17, message.ttl),
        (18, _milliseconds_now()),
        (21, message.body),
    )


async def _send(writer: asyncio.StreamWriter, tag: int, stanza: bytes) -> None:
    writer.write(bytes([tag]) + encode_varint(len(stanza)) + stanza)
    await writer.drain()


async def _read_stanza(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    tag = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return tag, await reader.readexactly(length)


def _text(message: dict[int, list[Value]], number: int) -> str:
    value = message[number][0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(message: dict[int, list[Value]], number: int) -> int:
    value = message.get(number, [0])[0]
    return value if isinstance(value, int) else 0


def _milliseconds_now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)

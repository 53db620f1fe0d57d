"""The WebSocket protocol between Firefox and its push service, and the messages that wait there."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from notifier.rehearsal.content_coding import b64url_decode, b64url_encode, load_point
from notifier.rehearsal.inbox import Inbox, PushMessage
from notifier.rehearsal.registry import Channel, Registry, Subscription

SUBPROTOCOL = "push-notification"

_GOODBYE = timedelta(seconds=1)
"""How long a browser that is hung up on has to answer; one that was killed never does."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Undelivered:
    message: PushMessage
    expires: float


@dataclass(slots=True)
class _Browser:
    """What the service knows of one browser; it outlives the connection."""

    uaid: str
    socket: web.WebSocketResponse | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    undelivered: dict[str, dict[str, _Undelivered]] = field(default_factory=dict)
    unregistered: dict[str, int | None] = field(default_factory=dict)

    def drop_expired(self, now: float) -> None:
        for waiting in self.undelivered.values():
            for message_id in [key for key, kept in waiting.items() if kept.expires <= now]:
                del waiting[message_id]


class Browsers:
    """The browsers that are or were connected, with their subscriptions and waiting messages.

    A message is sent at once to a browser that is connected. With a TTL it is also kept until the
    browser acknowledges it or the TTL has passed, and sent again when the browser reconnects; a
    newer message with the same topic takes its place (RFC 8030 sections 5.2 and 5.4).
    """

    def __init__(
        self, registry: Registry, inbox: Inbox, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._inbox = inbox
        self._clock = clock
        self._browsers: dict[str, _Browser] = {}

    async def serve(self, request: web.BaseRequest) -> web.WebSocketResponse:
        """Speak the protocol with one browser until it hangs up."""
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), timeout=_GOODBYE.total_seconds())
        await socket.prepare(request)
        session = _Session(self, socket, f"http://{request.host}")
        try:
            async for frame in socket:
                if frame.type is not WSMsgType.TEXT or not await session.hear(frame.data):
                    await socket.close(code=WSCloseCode.PROTOCOL_ERROR)
        finally:
            session.end()
        return socket

    async def deliver(self, subscription: Subscription, message: PushMessage) -> None:
        """Send a message to a browser, or keep it until the browser is back."""
        owner = subscription.owner
        if not isinstance(owner, Channel) or owner.uaid not in self._browsers:
            return
        browser = self._browsers[owner.uaid]
        if message.ttl:
            now = self._clock()
            browser.drop_expired(now)
            waiting = browser.undelivered.setdefault(owner.channel_id, {})
            for kept in list(waiting.values()):
                if message.topic is not None and kept.message.topic == message.topic:
                    del waiting[kept.message.id]
            waiting[message.id] = _Undelivered(message, now + message.ttl.total_seconds())
        await _notify(browser, owner.channel_id, message)

    async def forget_all(self) -> None:
        """Lose every browser: its endpoints are gone, and it gets a new uaid when it is back."""
        for browser in list(self._browsers.values()):
            for subscription in browser.subscriptions.values():
                self._registry.gone[subscription.number] = 410
        await self.hang_up(forget=True)

    async def hang_up(self, *, forget: bool = False) -> None:
        """End all connections."""
        sockets = [browser.socket for browser in self._browsers.values()]
        if forget:
            self._browsers.clear()
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets if socket is not None)
        )

    def describe(self, origin: str) -> list[dict[str, Any]]:
        """Every browser with its subscriptions, for the control API."""
        now = self._clock()
        for browser in self._browsers.values():
            browser.drop_expired(now)
        return [
            {
                "uaid": browser.uaid,
                "connected": browser.socket is not None,
                "subscriptions": [
                    {
                        "channel_id": channel_id,
                        "endpoint": subscription.endpoint(origin),
                        "undelivered": len(browser.undelivered.get(channel_id, ())),
                    }
                    for channel_id, subscription in browser.subscriptions.items()
                ],
                "unregistered": browser.unregistered,
            }
            for browser in self._browsers.values()
        ]

    async def connect(self, uaid: object, socket: web.WebSocketResponse) -> _Browser:
        """The browser with this uaid, or a new one when it is unknown."""
        browser = self._browsers.get(uaid) if isinstance(uaid, str) else None
        if browser is None:
            browser = _Browser(uuid.uuid4().hex)
            self._browsers[browser.uaid] = browser
        former, browser.socket = browser.socket, socket
        if former is not None:
            await former.close(code=WSCloseCode.GOING_AWAY)
        return browser

    async def resend(self, browser: _Browser) -> None:
        """Send what waited while the browser was away, or was sent and never acknowledged."""
        browser.drop_expired(self._clock())
        waiting = [
            (channel_id, kept.message)
            for channel_id, messages in browser.undelivered.items()
            for kept in messages.values()
        ]
        for channel_id, message in waiting:
            await _notify(browser, channel_id, message)

    def register(self, browser: _Browser, channel_id: str, key: bytes | None) -> Subscription:
        """The subscription of this channel; asking again with the same key gives the same."""
        known = browser.subscriptions.get(channel_id)
        if known is not None and known.vapid_key == key:
            return known
        if known is not None:
            self.unregister(browser, channel_id, None)
        subscription = self._registry.add_channel(Channel(browser.uaid, channel_id), key)
        browser.subscriptions[channel_id] = subscription
        return subscription

    def unregister(self, browser: _Browser, channel_id: str, code: int | None) -> None:
        """End a subscription; its endpoint answers 410 from now on."""
        subscription = browser.subscriptions.pop(channel_id, None)
        browser.undelivered.pop(channel_id, None)
        browser.unregistered[channel_id] = code
        if subscription is not None:
            self._registry.gone[subscription.number] = 410

    def acknowledge(
        self, browser: _Browser, channel_id: str, message_id: str, code: int | None
    ) -> None:
        """The browser has a message, whatever came of it; it is not sent again."""
        browser.undelivered.get(channel_id, {}).pop(message_id, None)
        subscription = browser.subscriptions.get(channel_id)
        if subscription is not None:
            self._inbox.acknowledge(subscription.number, message_id, code)


class _Session:
    """One connection: it reads what the browser says and answers."""

    def __init__(self, browsers: Browsers, socket: web.WebSocketResponse, origin: str) -> None:
        self._browsers = browsers
        self._socket = socket
        self._origin = origin
        self._browser: _Browser | None = None

    async def hear(self, text: str) -> bool:
        """Act on one frame; False when the browser broke the protocol."""
        try:
            frame = json.loads(text)
        except ValueError:
            return False
        if not isinstance(frame, dict):
            return False
        if not frame:
            await self._socket.send_json({})
            return True
        kind = frame.get("messageType")
        if kind == "hello":
            return await self._hello(frame)
        if self._browser is None:
            return False
        if kind == "register":
            await self._register(self._browser, frame)
        elif kind == "unregister":
            await self._unregister(self._browser, frame)
        elif kind == "ack":
            self._ack(self._browser, frame)
        else:
            _log.debug("passed over a frame of type %r", kind)
        return True

    def end(self) -> None:
        """The connection is over; a newer one of the same browser stays."""
        if self._browser is not None and self._browser.socket is self._socket:
            self._browser.socket = None

    async def _hello(self, frame: dict[str, Any]) -> bool:
        if self._browser is not None or frame.get("use_webpush") is not True:
            return False
        self._browser = await self._browsers.connect(frame.get("uaid"), self._socket)
        await self._socket.send_json(
            {
                "messageType": "hello",
                "uaid": self._browser.uaid,
                "status": HTTPStatus.OK,
                "use_webpush": True,
                "broadcasts": {},
            }
        )
        await self._browsers.resend(self._browser)
        return True

    async def _register(self, browser: _Browser, frame: dict[str, Any]) -> None:
        channel_id, key_text = frame.get("channelID"), frame.get("key")
        answer: dict[str, Any] = {"messageType": "register", "channelID": channel_id}
        try:
            key = _read_key(key_text)
            if not isinstance(channel_id, str) or not channel_id:
                raise ValueError("no channel")
        except ValueError:
            await self._socket.send_json(answer | {"status": HTTPStatus.BAD_REQUEST})
            return
        subscription = self._browsers.register(browser, channel_id, key)
        endpoint = subscription.endpoint(self._origin)
        await self._socket.send_json(answer | {"status": HTTPStatus.OK, "pushEndpoint": endpoint})

    async def _unregister(self, browser: _Browser, frame: dict[str, Any]) -> None:
        channel_id = str(frame.get("channelID"))
        self._browsers.unregister(browser, channel_id, frame.get("code"))
        await self._socket.send_json(
            {"messageType": "unregister", "channelID": channel_id, "status": HTTPStatus.OK}
        )

    def _ack(self, browser: _Browser, frame: dict[str, Any]) -> None:
        for update in frame.get("updates", ()):
            self._browsers.acknowledge(
                browser,
                str(update.get("channelID")),
                str(update.get("version")),
                update.get("code"),
            )


async def _notify(browser: _Browser, channel_id: str, message: PushMessage) -> None:
    """Send a message over the browser's connection, if there is one."""
    if browser.socket is None:
        return
    frame: dict[str, Any] = {
        "messageType": "notification",
        "channelID": channel_id,
        "version": message.id,
        "ttl": int(message.ttl.total_seconds()),
    }
    if message.body:
        frame["data"] = b64url_encode(message.body)
        frame["headers"] = {"encoding": "aes128gcm"}
    try:
        await browser.socket.send_json(frame)
    except (ConnectionError, RuntimeError):
        # The connection is closing; a message with a TTL waits for the next one.
        _log.debug("a browser hung up while a message was sent to it")


def _read_key(text: object) -> bytes | None:
    """The VAPID key of a register frame, padded or not. Raises ValueError."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError("the key is not text")
    key = b64url_decode(text.rstrip("="))
    load_point(key)
    return key

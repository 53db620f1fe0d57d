"""Firefox's WebSocket protocol, spoken by a small client in Firefox's place."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from rehearsal_publication import HEADLINE, Publication

from notifier.rehearsal.client import PushServiceControl
from notifier.rehearsal.content_coding import b64url_decode
from notifier.rehearsal.push_service import PushService
from notifier.rehearsal.readers import SimulatedReader

DEADLINE = 20


class FakeFirefox:
    """One connection of a browser, with the keys that a page's subscription would have."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.uaid = ""

    async def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        await self.socket.send_json(frame)
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        return await self.socket.receive_json(timeout=DEADLINE)

    async def hello(self, uaid: str | None = None) -> str:
        frame = {"messageType": "hello", "broadcasts": {}, "use_webpush": True}
        answer = await self.ask(frame | ({"uaid": uaid} if uaid else {}))
        assert answer | {"uaid": ""} == {
            "messageType": "hello",
            "uaid": "",
            "status": 200,
            "use_webpush": True,
            "broadcasts": {},
        }
        return answer["uaid"]

    async def register(self, channel_id: str, key: str | None) -> SimulatedReader:
        frame = {"messageType": "register", "channelID": channel_id}
        # Firefox pads the key.
        answer = await self.ask(frame | ({"key": key + "="} if key else {}))
        assert (answer["messageType"], answer["channelID"]) == ("register", channel_id)
        assert answer["status"] == 200
        return SimulatedReader(answer["pushEndpoint"])

    async def ack(self, notification: dict[str, Any], code: int = 100) -> None:
        update = {"channelID": notification["channelID"], "version": notification["version"]}
        await self.socket.send_json({"messageType": "ack", "updates": [update | {"code": code}]})
        # Frames are handled in order, so the answer to a ping says that the ack was, too.
        assert await self.ask({}) == {}


Connect = Callable[[], AbstractAsyncContextManager[FakeFirefox]]


@pytest.fixture
def connect(service: PushService) -> Connect:
    @asynccontextmanager
    async def connect():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{service.origin}/", protocols=["push-notification"]) as socket,
        ):
            assert socket.protocol == "push-notification"
            yield FakeFirefox(socket)

    return connect


def run(conversation: Callable[[], Awaitable[None]]) -> None:
    async def within_deadline() -> None:
        async with asyncio.timeout(3 * DEADLINE):
            await conversation()

    # Not in this thread, which may be that of a browser's driver with a loop of its own.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, within_deadline()).result()


async def until_away(control: PushServiceControl) -> None:
    """Wait until the service has noticed that every browser hung up."""
    while any(browser["connected"] for browser in control.browsers()):
        await asyncio.sleep(0.01)


def read(reader: SimulatedReader, notification: dict[str, Any]) -> str:
    assert notification["messageType"] == "notification"
    assert notification["headers"] == {"encoding": "aes128gcm"}
    return reader.decrypt(b64url_decode(notification["data"])).decode()


def test_a_browser_receives_and_acknowledges(
    connect: Connect, control: PushServiceControl, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            uaid = await firefox.hello()
            channel = str(uuid.uuid4())
            reader = await firefox.register(channel, publication.public_key)
            publication.push(reader.subscription_json(), ttl=60)
            notification = await firefox.hear()
            assert (notification["channelID"], notification["ttl"]) == (channel, 60)
            assert read(reader, notification) == HEADLINE
            (kept,) = control.messages(reader.endpoint)
            assert (kept["id"], kept["ack"]) == (notification["version"], None)
            await firefox.ack(notification, code=101)
            assert control.messages(reader.endpoint)[0]["ack"] == 101
            (browser,) = control.browsers()
            assert (browser["uaid"], browser["connected"]) == (uaid, True)
            (subscription,) = browser["subscriptions"]
            assert subscription == {
                "channel_id": channel,
                "endpoint": reader.endpoint,
                "undelivered": 0,
            }

    run(conversation)


def test_the_key_of_the_subscription_is_held_against_the_sender(
    connect: Connect, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
            stranger = Publication(publication.origin).authorization()
            response = publication.post(reader.subscription_json(), Authorization=stranger)
            assert (response.status_code, response.json()["errno"]) == (401, 109)
            open_to_all = await firefox.register("another channel", None)
            response = publication.post(open_to_all.subscription_json(), Authorization=None)
            assert response.status_code == 201

    run(conversation)


def test_registering_twice_gives_the_same_endpoint(
    connect: Connect, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.hello()
            first = await firefox.register("a channel", publication.public_key)
            again = await firefox.register("a channel", publication.public_key)
            other = await firefox.register("another channel", publication.public_key)
            assert first.endpoint == again.endpoint != other.endpoint

    run(conversation)


@pytest.mark.parametrize("frame", [{"channelID": "x", "key": "AAAA"}, {"channelID": ""}, {}])
def test_a_registration_that_makes_no_sense_is_refused(
    connect: Connect, frame: dict[str, Any]
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.hello()
            assert (await firefox.ask({"messageType": "register"} | frame))["status"] == 400

    run(conversation)


def test_a_subscription_that_is_ended_is_gone(
    connect: Connect, control: PushServiceControl, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
            frame = {"messageType": "unregister", "channelID": "a channel", "code": 202}
            answer = await firefox.ask(frame)
            assert answer == {
                "messageType": "unregister",
                "channelID": "a channel",
                "status": 200,
            }
            response = publication.post(reader.subscription_json())
            assert (response.status_code, response.json()["errno"]) == (410, 106)
            assert control.browsers()[0]["unregistered"] == {"a channel": 202}

    run(conversation)


def test_messages_wait_for_a_browser_that_is_away(
    connect: Connect, control: PushServiceControl, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            uaid = await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
        await until_away(control)
        subscription = reader.subscription_json()
        publication.push(subscription, "dropped, because it must not wait", ttl=0)
        publication.push(subscription, "replaced", ttl=60, Topic="election")
        publication.push(subscription, "another story", ttl=60, Topic="storm")
        publication.push(subscription, "the newest", ttl=60, Topic="election")
        async with connect() as firefox:
            assert await firefox.hello(uaid) == uaid
            waiting = [await firefox.hear(), await firefox.hear()]
            assert {read(reader, n) for n in waiting} == {"another story", "the newest"}
            assert await firefox.ask({}) == {}

    run(conversation)


def test_a_message_is_sent_again_until_it_is_acknowledged(
    connect: Connect, control: PushServiceControl, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            uaid = await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
            publication.push(reader.subscription_json(), ttl=60)
            first = await firefox.hear()
        await until_away(control)
        async with connect() as firefox:
            await firefox.hello(uaid)
            second = await firefox.hear()
            assert second == first
            await firefox.ack(second)
        await until_away(control)
        async with connect() as firefox:
            await firefox.hello(uaid)
            assert await firefox.ask({}) == {}

    run(conversation)


def test_a_message_that_waited_too_long_is_dropped(
    connect: Connect,
    service: PushService,
    control: PushServiceControl,
    publication: Publication,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            uaid = await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
        await until_away(control)
        publication.push(reader.subscription_json(), "in time", ttl=120)
        publication.push(reader.subscription_json(), "too late", ttl=60)
        clock = service.browsers._clock
        monkeypatch.setattr(service.browsers, "_clock", lambda: clock() + 61)
        async with connect() as firefox:
            await firefox.hello(uaid)
            assert read(reader, await firefox.hear()) == "in time"
            assert await firefox.ask({}) == {}

    run(conversation)


def test_an_unknown_browser_gets_a_new_name(connect: Connect) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            assert await firefox.hello("0" * 32) != "0" * 32

    run(conversation)


def test_a_second_connection_takes_the_place_of_the_first(
    connect: Connect, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as first, connect() as second:
            uaid = await first.hello()
            reader = await first.register("a channel", publication.public_key)
            # The closing handshake needs the first connection to be listened to.
            closing = asyncio.create_task(first.socket.receive(timeout=DEADLINE))
            await second.hello(uaid)
            assert (await closing).type is WSMsgType.CLOSE
            publication.push(reader.subscription_json())
            assert read(reader, await second.hear()) == HEADLINE

    run(conversation)


def test_a_service_that_forgot_its_browsers_says_so(
    connect: Connect, control: PushServiceControl, publication: Publication
) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            uaid = await firefox.hello()
            reader = await firefox.register("a channel", publication.public_key)
            closing = asyncio.create_task(firefox.socket.receive(timeout=DEADLINE))
            await asyncio.to_thread(control.forget_browsers)
            assert (await closing).type is WSMsgType.CLOSE
        assert publication.post(reader.subscription_json()).status_code == 410
        async with connect() as firefox:
            assert await firefox.hello(uaid) != uaid

    run(conversation)


def test_what_the_service_has_no_use_for_is_passed_over(connect: Connect) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.hello()
            await firefox.socket.send_json(
                {"messageType": "broadcast_subscribe", "broadcasts": {"remote-settings": "1"}}
            )
            assert await firefox.ask({}) == {}

    run(conversation)


@pytest.mark.parametrize(
    "frame", ["not json", "[]", '{"messageType": "register"}', '{"messageType": "hello"}']
)
def test_a_browser_that_breaks_the_protocol_is_hung_up_on(connect: Connect, frame: str) -> None:
    async def conversation() -> None:
        async with connect() as firefox:
            await firefox.socket.send_str(frame)
            assert (await firefox.socket.receive(timeout=DEADLINE)).type is WSMsgType.CLOSE

    run(conversation)

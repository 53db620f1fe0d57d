"""The local push service: RFC 8030 POST, Firefox's WebSocket and the control API on one port.

    python -m notifier.rehearsal.push_service --port 9999 --port 9998

runs one push service per port, each with readers, faults and a report of its own, as the push
services of different browser makers are strangers to each other. It listens on 127.0.0.1 only.

    POST /wpush/v2/<token>          a push message, checked as strictly as anywhere (validation.py)
    GET  /                          the WebSocket for Firefox (autopush.py)
    POST /control/readers           add simulated readers (see ReadersOrder in control.py)
    POST /control/readers/forget    forget all subscriptions and faults
    GET, POST /control/faults       trouble for some of the endpoints (see FaultRule in faults.py)
    POST /control/waves             begin a wave: the report counts anew
    GET  /control/report            what came in during this wave (see Wave.report in wave.py)
    GET  /control/missing           the endpoints for which nothing was accepted in this wave
    GET  /control/messages          what one endpoint received: ?endpoint=…
    GET  /control/browsers          the browsers that have connected
    POST /control/browsers/forget   lose them, as a push service does that has lost its data

The origin that endpoints carry and VAPID audiences must name is that of the request's own Host
header, so http://127.0.0.1:9999 and http://localhost:9999 both work, each with its own tokens. A
proxy in front that speaks TLS says so by X-Forwarded-Proto: https.

Simulated readers share 64 key pairs and have an auth secret each (see Crowd in readers.py). For a
sample of them, 1% unless told otherwise, every message is decrypted, and so is every duplicate.
"""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from secrets import token_urlsafe
from typing import Any, Self

import click
from aiohttp import web

from notifier.rehearsal import control, harmful
from notifier.rehearsal.autopush import Browsers
from notifier.rehearsal.content_coding import (
    DecryptionError,
    EncryptedBody,
    MalformedBodyError,
    load_point,
)
from notifier.rehearsal.faults import FaultRule, Faults, parse_retry_after
from notifier.rehearsal.inbox import Inbox, PushMessage
from notifier.rehearsal.registry import Channel, Registry, Subscription
from notifier.rehearsal.validation import (
    BodyError,
    PushError,
    VapidChecker,
    check_body,
    check_topic,
    check_ttl,
    check_urgency,
)
from notifier.rehearsal.wave import Wave

DEFAULT_SAMPLE = 0.01

_PUSH_PREFIX = "/wpush/v2/"
_GRACE = timedelta(seconds=1)
_LARGEST_REQUEST = 1024**2
_FAULT_ERRNO = 201
_GONE_ERRNO = {404: 102, 410: 106}


class PushService:
    """One push service on one port. Use it as an async context manager, or see in_thread."""

    def __init__(self, port: int = 0, *, sample: float = DEFAULT_SAMPLE) -> None:
        """A port of 0 takes a free one; sample is the share of readers that decrypt."""
        self.port = port
        self.registry = Registry()
        self.faults = Faults()
        self.inbox = Inbox()
        self.browsers = Browsers(self.registry, self.inbox)
        self._sample = sample
        self._vapid = VapidChecker()
        self._control = control.ControlApi(self)
        self._retry_times: dict[int, float] = {}
        self._wave = Wave(0, time.monotonic())
        self._runner = web.ServerRunner(
            web.Server(self._answer, access_log=None, auto_decompress=False),
            shutdown_timeout=_GRACE.total_seconds(),
        )

    @property
    def origin(self) -> str:
        """Where the service listens, known once it has started."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start listening. Raises OSError when the port is taken."""
        await self._runner.setup()
        listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener, backlog=1024).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.browsers.hang_up()
        await self._runner.cleanup()

    @classmethod
    @contextmanager
    def in_thread(cls, port: int = 0, *, sample: float = DEFAULT_SAMPLE) -> Iterator[Self]:
        """Run a service in a thread of its own until the block ends."""
        started: Future[tuple[Self, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            stop = asyncio.Event()
            async with cls(port, sample=sample) as service:
                started.set_result((service, asyncio.get_running_loop(), stop))
                await stop.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                if started.done():
                    raise
                started.set_exception(error)

        thread = threading.Thread(target=run, name="push service")
        thread.start()
        service, loop, stop = started.result()
        try:
            yield service
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    def begin_wave(self) -> int:
        """Forget what was counted and count from now; gives the new wave's number."""
        self._wave = Wave(self._wave.number + 1, time.monotonic())
        return self._wave.number

    def report(self) -> dict[str, Any]:
        """What came in during this wave; see Wave.report."""
        return self._wave.report(self.registry.size, self.registry.gone)

    def forget_readers(self) -> None:
        """Forget all subscriptions and faults, and begin a new wave."""
        self.registry.clear()
        self.inbox.clear()
        self.faults.replace([], time.monotonic())
        self._retry_times.clear()
        self.begin_wave()

    def missing(self) -> Iterator[Subscription]:
        """The subscriptions for which nothing was accepted in this wave."""
        return (item for item in self.registry if not self._wave.accepted_for(item.number))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith(_PUSH_PREFIX):
            if request.method != "POST":
                return web.Response(status=405, headers={"Allow": "POST"})
            return await self._push(request, path.removeprefix(_PUSH_PREFIX))
        if path.startswith(control.PREFIX):
            return await self._control.answer(request)
        if path == "/" and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self.browsers.serve(request)
        return web.Response(status=404)

    async def _push(self, request: web.BaseRequest, token: str) -> web.StreamResponse:
        """Answer one push request (RFC 8030 section 5).

        1. An endpoint that does not exist or is gone says so.
        2. The request must pass every check, whatever fault awaits it.
        3. The fault that covers the endpoint strikes, if one does.
        4. What is left is accepted, decrypted if it is a duplicate or in the sample, and delivered.
        5. A harmful answer, if one was asked for, comes in the place of the usual one.
        """
        self._wave.count_request()
        try:
            subscription = self._find(token)
            message, parts = await self._check(request, subscription)
            rule = self.faults.strike(
                subscription.number, subscription.fault_point, time.monotonic()
            )
            if rule is not None:
                await asyncio.sleep(rule.delay.total_seconds())
                if rule.status is not None:
                    return self._fail(request, subscription, rule, rule.status)
            is_duplicate = self._wave.count_accepted(
                subscription.number, message.topic, parts, time.monotonic()
            )
            if subscription.keep or is_duplicate or subscription.sample_point < self._sample:
                self._read(subscription, message, is_duplicate=is_duplicate)
            if isinstance(subscription.owner, Channel):
                await self.browsers.deliver(subscription, message)
        except PushError as error:
            self._wave.count_error(error)
            return web.json_response(error.as_json(), status=error.status)
        if rule is not None and rule.harm is not None:
            if rule.harm.withholds_status:
                self._wave.count_withheld()
            return await harmful.answer(request, rule.harm)
        return web.Response(
            status=201,
            headers={
                "Location": f"http://{request.host}/m/{message.id}",
                "TTL": str(int(message.ttl.total_seconds())),
            },
        )

    def _find(self, token: str) -> Subscription:
        subscription = self.registry.find(token)
        if subscription is None:
            raise PushError(404, 102, "there is no such endpoint")
        gone = self.registry.gone.get(subscription.number)
        if gone is not None:
            raise PushError(gone, _GONE_ERRNO[gone], "the subscription is gone")
        if time.monotonic() < self._retry_times.get(subscription.number, 0.0):
            self._wave.count_early()
        return subscription

    async def _check(
        self, request: web.BaseRequest, subscription: Subscription
    ) -> tuple[PushMessage, EncryptedBody | None]:
        headers = request.headers
        self._vapid.check(
            headers.get("Authorization"),
            origin=f"{headers.get('X-Forwarded-Proto', 'http')}://{request.host}",
            subscribed_key=subscription.vapid_key,
        )
        ttl = check_ttl(headers.get("TTL"))
        topic = check_topic(headers.get("Topic"))
        urgency = check_urgency(headers.get("Urgency"))
        if (request.content_length or 0) > _LARGEST_REQUEST:
            raise PushError(413, 104, "the body is far too large")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise PushError(413, 104, "the body is far too large") from error
        parts = check_body(body, headers.get("Content-Encoding"))
        if parts is not None and subscription.sample_point < self._sample:
            try:
                load_point(parts.sender_key)
            except MalformedBodyError as error:
                raise BodyError(str(error)) from error
        return PushMessage(token_urlsafe(12), body, ttl, urgency, topic), parts

    def _fail(
        self,
        request: web.BaseRequest,
        subscription: Subscription,
        rule: FaultRule,
        status: int,
    ) -> web.Response:
        """The answer of a fault. 404 and 410 are for good."""
        error = PushError(status, _GONE_ERRNO.get(status, _FAULT_ERRNO), "a fault was asked for")
        self._wave.count_error(error)
        headers = {}
        if status in _GONE_ERRNO:
            self.registry.gone[subscription.number] = status
        if rule.retry_after is not None:
            headers["Retry-After"] = rule.retry_after
            wait = parse_retry_after(rule.retry_after)
            self._retry_times[subscription.number] = time.monotonic() + wait.total_seconds()
        if status < 400:
            # Somewhere to follow to, for a sender that wrongly would.
            headers["Location"] = str(request.url)
        return web.json_response(error.as_json(), status=status, headers=headers)

    def _read(
        self, subscription: Subscription, message: PushMessage, *, is_duplicate: bool
    ) -> None:
        """Decrypt a message as its reader would, count how that went, and keep it."""
        kept = self.inbox.keep(subscription.number, message)
        reader = subscription.reader(self.origin)
        if reader is None or not message.body:
            return
        try:
            kept.data = reader.decrypt(message.body)
        except (MalformedBodyError, DecryptionError) as error:
            kept.error = str(error)
            self._wave.not_decrypted += 1
        else:
            self._wave.count_read(
                subscription.number, message.topic, kept.data, is_duplicate=is_duplicate
            )


async def serve(ports: Sequence[int], sample: float = DEFAULT_SAMPLE) -> None:
    """Run a service on each port until SIGTERM or SIGINT, and say when each is ready.

    Raises click.ClickException when a port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    async with AsyncExitStack() as services:
        for port in ports:
            try:
                service = await services.enter_async_context(PushService(port, sample=sample))
            except OSError as error:
                raise click.ClickException(
                    f"cannot listen on 127.0.0.1:{port}: {error.strerror}"
                ) from error
            click.echo(f"ready {service.origin}")
        await stop.wait()


@click.command()
@click.option(
    "--port",
    "ports",
    type=click.IntRange(0, 65535),
    multiple=True,
    required=True,
    help="Where to listen on 127.0.0.1; 0 for a free port. Repeat it for several push services.",
)
@click.option(
    "--sample",
    type=click.FloatRange(0, 1),
    default=DEFAULT_SAMPLE,
    show_default=True,
    help="The share of simulated readers that decrypt what they receive.",
)
def main(ports: tuple[int, ...], sample: float) -> None:
    """Run local push services for rehearsals, tests and offline demos."""
    asyncio.run(serve(ports, sample))


if __name__ == "__main__":
    main()

"""The control API of the push service: readers, faults, waves, the report, kept messages."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from notifier.rehearsal.content_coding import b64url_decode, load_point
from notifier.rehearsal.faults import FaultRule
from notifier.rehearsal.registry import Subscription

if TYPE_CHECKING:
    from notifier.rehearsal.push_service import PushService

PREFIX = "/control/"

_CHUNK = 1000
_FAULT_RULES = TypeAdapter(list[FaultRule])


def _require_key(value: object) -> object:
    if not isinstance(value, str):
        return value
    key = b64url_decode(value)
    load_point(key)
    return key


class ReadersOrder(BaseModel):
    """How many simulated readers to add, and what kind.

    vapid_public_key is the one that they subscribe with (None: with none); the same seed gives
    the same readers on another run; keep has the messages of all of them decrypted and kept.
    """

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=10_000_000)
    vapid_public_key: Annotated[bytes | None, BeforeValidator(_require_key)] = None
    seed: str | int | None = None
    keep: bool = False


class ControlApi:
    """Answers the requests below /control/; see each method for what it takes and gives."""

    def __init__(self, service: "PushService") -> None:
        self._service = service
        self._routes: dict[
            tuple[str, str], Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
        ] = {
            ("POST", "readers"): self._add_readers,
            ("POST", "readers/forget"): self._forget_readers,
            ("GET", "faults"): self._list_faults,
            ("POST", "faults"): self._set_faults,
            ("POST", "waves"): self._begin_wave,
            ("GET", "report"): self._report,
            ("GET", "missing"): self._list_missing,
            ("GET", "messages"): self._list_messages,
            ("GET", "browsers"): self._list_browsers,
            ("POST", "browsers/forget"): self._forget_browsers,
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; what is wrong with it is said in {"error": …}."""
        route = self._routes.get((request.method, request.path.removeprefix(PREFIX)))
        if route is None:
            return web.json_response({"error": "there is no such control route"}, status=404)
        try:
            return await route(request)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            return web.json_response({"error": problems}, status=400)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    async def _add_readers(self, request: web.BaseRequest) -> web.StreamResponse:
        """Add readers and give their subscriptions, as a list or, if accepted, as NDJSON."""
        order = ReadersOrder.model_validate_json(await request.read())
        subscriptions = self._service.registry.enlist(
            order.count,
            vapid_key=order.vapid_public_key,
            seed=order.seed,
            keep=order.keep,
        )
        ndjson = "application/x-ndjson" in request.headers.get("Accept", "")
        before, between, after = ("", "\n", "\n") if ndjson else ("[", ",\n", "]\n")
        response = web.StreamResponse()
        response.content_type = "application/x-ndjson" if ndjson else "application/json"
        await response.prepare(request)
        origin = f"http://{request.host}"
        async for chunk in _in_chunks(subscriptions):
            lines = between.join(json.dumps(item.as_json(origin)) for item in chunk)
            await response.write((before + lines).encode())
            before = between
        await response.write(after.encode())
        await response.write_eof()
        return response

    async def _forget_readers(self, _: web.BaseRequest) -> web.StreamResponse:
        """Forget all subscriptions and faults, as if the service had just started."""
        self._service.forget_readers()
        return web.json_response({})

    async def _set_faults(self, request: web.BaseRequest) -> web.StreamResponse:
        """Replace the rules by a list of rules; an empty list ends all faults but `gone`."""
        rules = _FAULT_RULES.validate_json(await request.read())
        self._service.faults.replace(rules, time.monotonic())
        return await self._list_faults(request)

    async def _list_faults(self, request: web.BaseRequest) -> web.StreamResponse:
        """The rules with the count of endpoints under each; with ?endpoints=1 also which."""
        faults = self._service.faults
        wanted = request.query.get("endpoints") == "1"
        origin = f"http://{request.host}"
        counts = [0] * len(faults.rules)
        endpoints: list[list[str]] = [[] for _ in faults.rules]
        if faults.rules:
            async for chunk in _in_chunks(iter(self._service.registry)):
                for subscription in chunk:
                    position = faults.covering(subscription.fault_point)
                    if position is None or position >= len(counts):
                        continue
                    counts[position] += 1
                    if wanted:
                        endpoints[position].append(subscription.endpoint(origin))
        return web.json_response(
            [
                rule.model_dump(mode="json", by_alias=True)
                | {"count": count}
                | ({"endpoints": covered} if wanted else {})
                for rule, count, covered in zip(faults.rules, counts, endpoints, strict=False)
            ]
        )

    async def _begin_wave(self, _: web.BaseRequest) -> web.StreamResponse:
        """Begin a new wave: the report counts from now."""
        return web.json_response({"wave": self._service.begin_wave()})

    async def _report(self, _: web.BaseRequest) -> web.StreamResponse:
        """The present wave's report."""
        return web.json_response(self._service.report())

    async def _list_missing(self, request: web.BaseRequest) -> web.StreamResponse:
        """The endpoints for which nothing was accepted in this wave."""
        origin = f"http://{request.host}"
        missing = []
        async for chunk in _in_chunks(self._service.missing()):
            missing += [subscription.endpoint(origin) for subscription in chunk]
        return web.json_response(missing)

    async def _list_messages(self, request: web.BaseRequest) -> web.StreamResponse:
        """The messages kept for ?endpoint=, oldest first."""
        token = urlsplit(request.query.get("endpoint", "")).path.rpartition("/")[2]
        subscription = self._service.registry.find(token)
        if subscription is None:
            return web.json_response({"error": "there is no such endpoint"}, status=404)
        kept = self._service.inbox.messages(subscription.number)
        return web.json_response([message.as_json() for message in kept])

    async def _list_browsers(self, request: web.BaseRequest) -> web.StreamResponse:
        """The browsers that have connected, and their subscriptions."""
        return web.json_response(self._service.browsers.describe(f"http://{request.host}"))

    async def _forget_browsers(self, _: web.BaseRequest) -> web.StreamResponse:
        """Lose all browsers, as a push service does that has lost its data."""
        await self._service.browsers.forget_all()
        return web.json_response({})


async def _in_chunks(subscriptions: Iterator[Subscription]) -> AsyncIterator[list[Subscription]]:
    """Go through many subscriptions, letting others have a turn in between."""
    while chunk := list(islice(subscriptions, _CHUNK)):
        yield chunk
        await asyncio.sleep(0)

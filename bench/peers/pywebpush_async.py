"""`webpush_async()`, 100 at a time, with one aiohttp session and the key read once.

An aiohttp session and a key object are kinder than its README, which shows neither.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
from py_vapid import Vapid
from pywebpush import webpush_async

from bench.peers.measured import CACHED, Order, Subscriptions, main
from bench.peers.pywebpush_token import vapid_headers

AT_A_TIME = 100


def prepare(order: Order, form: str) -> Callable[[Subscriptions], list[int]]:
    key = Vapid.from_file(order["vapid_key_file"])
    token = vapid_headers(order) if form == CACHED else {}
    loop = asyncio.new_event_loop()

    async def open_session() -> aiohttp.ClientSession:
        authorities = ssl.create_default_context(cafile=order["ca_file"])
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_A_TIME, ssl=authorities)
        )

    session = loop.run_until_complete(open_session())

    async def send_one(reader: dict[str, Any]) -> int:
        if token:
            answer = await webpush_async(
                reader,
                order["plaintext"],
                ttl=order["ttl"],
                headers=token,
                aiohttp_session=session,
            )
        else:
            answer = await webpush_async(
                reader,
                order["plaintext"],
                vapid_private_key=key,
                vapid_claims={"sub": order["subject"]},
                ttl=order["ttl"],
                aiohttp_session=session,
            )
        status = answer.status
        answer.release()
        return status

    async def one_of_many(left: Iterator[dict[str, Any]], statuses: list[int]) -> None:
        for reader in left:
            statuses.append(await send_one(reader))  # noqa: PERF401 - shared by all of them

    async def send_all(readers: Subscriptions) -> list[int]:
        statuses: list[int] = []
        left = iter(readers)
        await asyncio.gather(*(one_of_many(left, statuses) for _ in range(AT_A_TIME)))
        return statuses

    return lambda readers: loop.run_until_complete(send_all(readers))


if __name__ == "__main__":
    main(prepare)

"""Answers that do harm: how the local push service breaks off, trickles, floods and inflates."""

import asyncio
import zlib
from datetime import timedelta

from aiohttp import web

from notifier.rehearsal.faults import Harm

_PAUSE = timedelta(seconds=1)
_NO_LONGER_THAN = timedelta(seconds=60)
_PIECE = b"x" * 4096
_INFLATED_BYTES = 8 * 1024**2


async def answer(request: web.BaseRequest, harm: Harm) -> web.StreamResponse:
    """Answer a request whose message was accepted, and do that harm. Ends within a minute."""
    try:
        async with asyncio.timeout(_NO_LONGER_THAN.total_seconds()):
            match harm:
                case Harm.DROPPED:
                    _hang_up(request)
                case Harm.SLOW:
                    await _trickle(request)
                case Harm.ENDLESS:
                    return await _flood(request)
                case Harm.COMPRESSED:
                    return web.Response(
                        status=201, headers={"Content-Encoding": "gzip"}, body=_bomb()
                    )
    except (TimeoutError, ConnectionResetError):
        _hang_up(request)
    return web.Response(status=201)  # goes nowhere: there is no connection any more


def _hang_up(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.close()


async def _trickle(request: web.BaseRequest) -> None:
    for byte in b"HTTP/1.1 201 Created" * 3:
        if request.transport is None or request.transport.is_closing():
            return
        request.transport.write(bytes([byte]))
        await asyncio.sleep(_PAUSE.total_seconds())
    _hang_up(request)


async def _flood(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(status=201)
    await response.prepare(request)
    while True:
        await response.write(_PIECE)


def _bomb() -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)  # with the header of gzip
    return packer.compress(bytes(_INFLATED_BYTES)) + packer.flush()

"""An HTTP/2 relay that cuts a connection's stream limit in the middle (RFC 9113, section 6.5.2)."""

import asyncio
import ssl
import struct
import threading
from pathlib import Path
from typing import Self

from notifier.rehearsal.deployment import free_port

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_ACK = 1
_END_STREAM = 1
_MAX_CONCURRENT_STREAMS = 3
_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
LIMIT = 1


class StreamLimit:
    """Passes the frames of HTTP/2 on, with TLS on the near side and none on the far side.

    After `cut_after` requests of every other connection, its client is told that it may have one
    stream at a time.
    `most_open_after_cut` is how many it had open at once after it had agreed to that and those
    that were open then had ended; `cuts` counts how often a limit was cut, `goaways` how often the
    far side ended a connection.
    """

    def __init__(self, to_port: int, certificate: Path, key: Path, cut_after: int = 300) -> None:
        self._to = to_port
        self.port = free_port()
        self.origin = f"https://127.0.0.1:{self.port}"
        self.cut_after = cut_after
        self.cuts = 0
        self.goaways = 0
        self.connections = 0
        self.most_open_after_cut = 0
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._tls.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stream limit")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls), self._loop
        ).result(30)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onward = await asyncio.open_connection("127.0.0.1", self._to)
        self.connections += 1
        connection = _Connection(self, may_be_cut=self.connections % 2 == 0)
        try:
            onward.write(await near.readexactly(_PREFACE))
            tasks = [
                asyncio.create_task(connection.requests(near, onward, back)),
                asyncio.create_task(connection.answers(far, back)),
            ]
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            onward.close()
            back.close()


class _Connection:
    def __init__(self, relay: StreamLimit, *, may_be_cut: bool) -> None:
        self._relay = relay
        self._may_be_cut = may_be_cut
        self._open: set[int] = set()
        self._requests = 0
        self._own_settings_unacknowledged = False
        self._before_cut: set[int] | None = None

    async def requests(
        self,
        near: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        while True:
            head, kind, flags, stream, payload = await _frame(near)
            if kind == _SETTINGS and flags & _ACK and self._own_settings_unacknowledged:
                # The server's own settings were acknowledged hundreds of requests ago.
                self._own_settings_unacknowledged = False
                self._before_cut = set(self._open)
                continue
            if kind == _HEADERS:
                self._open.add(stream)
                self._requests += 1
                if self._before_cut is not None and not self._before_cut:
                    relay = self._relay
                    relay.most_open_after_cut = max(relay.most_open_after_cut, len(self._open))
            if kind == _RST_STREAM:
                self._close(stream)
            onward.write(head + payload)
            await onward.drain()
            if self._may_be_cut and self._requests == self._relay.cut_after and kind == _HEADERS:
                self._relay.cuts += 1
                self._own_settings_unacknowledged = True
                setting = struct.pack(">HI", _MAX_CONCURRENT_STREAMS, LIMIT)
                length = len(setting).to_bytes(3, "big")
                back.write(length + bytes([_SETTINGS, 0]) + bytes(4) + setting)

    async def answers(self, far: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while True:
            head, kind, flags, stream, payload = await _frame(far)
            self._relay.goaways += kind == _GOAWAY
            back.write(head + payload)
            await back.drain()
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._close(stream)

    def _close(self, stream: int) -> None:
        self._open.discard(stream)
        if self._before_cut is not None:
            self._before_cut.discard(stream)


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, int, int, int, bytes]:
    """One frame (RFC 9113, section 4.1): its head as it came, type, flags, stream, payload."""
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3], "big")
    stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
    return head, head[3], head[4], stream, await reader.readexactly(length)

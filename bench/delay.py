"""A TCP proxy that holds everything back for a while: distance, where the kernel cannot make it.

    python -m bench.delay PORT MILLISECONDS

Prints the port that it listens on. What passes through, in either direction, arrives half of
MILLISECONDS later, so that this is the round trip. It is no model of a long line: a connection is
made at once, nothing is lost, and TCP's windows never fill.
"""

import asyncio
import sys


class Direction(asyncio.Protocol):
    """One side of a proxied connection; what it reads is written to the other side, later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: Direction | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.loop.call_later(self.delay, self._pass_on, data)

    def connection_lost(self, error: Exception | None) -> None:
        self.loop.call_later(self.delay, self._hang_up)

    def _pass_on(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self.early.append(data)
        elif not self.other.transport.is_closing():
            self.other.transport.write(data)

    def _hang_up(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Near(Direction):
    """The side that somebody has connected to; opens the far one."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.opening = self.loop.create_task(self._open())

    async def _open(self) -> None:
        _, far = await self.loop.create_connection(
            lambda: Direction(self.delay), "127.0.0.1", self.port
        )
        far.other = self
        self.other = far
        for data in self.early:
            self._pass_on(data)
        self.early.clear()


async def _main(port: int, round_trip_ms: float) -> None:
    delay = round_trip_ms / 2000
    server = await asyncio.get_running_loop().create_server(
        lambda: Near(delay, port), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # it is what the bench reads
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))

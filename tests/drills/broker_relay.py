"""A TCP relay in front of the broker that can go deaf, as behind a router that lost its memory."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Self


class Relay:
    """Passes connections on to a port of 127.0.0.1 until it is told to go deaf.

    A deaf connection stays open, takes everything and passes on nothing, for good. New ones are
    served, unless the relay was told to turn those deaf too.
    """

    def __init__(self, port: int, to_port: int) -> None:
        self._port = port
        self._to = to_port
        self._new_are_deaf = False
        self._pipes: set[_Pipe] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(
            asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=256)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_deaf(self, *, new_ones_too: bool = False) -> None:
        """Pass on nothing more on the connections that there are."""
        self._call(self._deafen(new_ones_too))

    def hear(self) -> None:
        """Serve new connections again; and hang up on the deaf ones."""
        self._call(self._heal())

    def _call(self, work: "asyncio._CoroutineLike[object]"):  # type: ignore[no-untyped-def]
        done: Future[object] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipe = _Pipe(writer)
        pipe.is_deaf = self._new_are_deaf
        self._pipes.add(pipe)
        try:
            if pipe.is_deaf:
                while await reader.read(65536):
                    pass
                return
            beyond, onward = await asyncio.open_connection("127.0.0.1", self._to)
            pipe.ends.append(onward)
            # Either side's end is the end of both; a deaf one's is seen by nobody.
            done, pending = await asyncio.wait(
                [
                    asyncio.create_task(pipe.pump(reader, onward)),
                    asyncio.create_task(pipe.pump(beyond, writer)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if pipe.is_deaf and pending:
                await asyncio.wait(pending)
            for task in pending:
                task.cancel()
            for task in done:
                task.exception()
        except OSError:
            pass  # nobody listens there now
        finally:
            self._pipes.discard(pipe)
            pipe.close()

    async def _deafen(self, new_ones_too: bool) -> None:
        self._new_are_deaf = new_ones_too
        for pipe in self._pipes:
            pipe.is_deaf = True

    async def _heal(self) -> None:
        self._new_are_deaf = False
        for pipe in list(self._pipes):
            if pipe.is_deaf:
                pipe.close()

    async def _end(self) -> None:
        self._server.close()
        for pipe in list(self._pipes):
            pipe.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Pipe:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.ends = [writer]
        self.is_deaf = False

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if not self.is_deaf:
                    writer.write(data)
                    await writer.drain()

    def close(self) -> None:
        for end in self.ends:
            end.close()

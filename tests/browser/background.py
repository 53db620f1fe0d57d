"""An asyncio event loop in a thread of its own, for helpers whose tests are synchronous."""

import asyncio
import threading
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Self, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines from synchronous code.

    The thread is needed because Playwright keeps a loop running in the tests' own thread,
    where no second one may run.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(
        self, coroutine: Coroutine[Any, Any, T], timeout: timedelta = timedelta(seconds=30)
    ) -> T:
        """Waits for the coroutine's result; raises TimeoutError when it takes too long."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout.total_seconds())
        except TimeoutError:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancels what is still running, then ends the loop and its thread."""
        self.run(self._cancel_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

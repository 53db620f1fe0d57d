"""WebDriver BiDi: the protocol by which a browser takes commands over a WebSocket."""

import itertools
from datetime import timedelta
from typing import Any

import aiohttp
from background import BackgroundLoop

COMMAND_TIMEOUT = timedelta(seconds=60)


class BidiError(Exception):
    """The browser refused a command."""


class BidiSession:
    """One session, one command at a time; events are not subscribed to."""

    def __init__(self, url: str) -> None:
        self._ids = itertools.count(1)
        self._loop = BackgroundLoop("bidi")
        try:
            self._loop.run(self._connect(url))
            self.command("session.new", capabilities={})
        except BaseException:
            self.close()
            raise

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command. Raises BidiError, or TimeoutError without an answer."""
        return self._loop.run(self._command(method, parameters), COMMAND_TIMEOUT)

    def call(self, context: str, function: str, *arguments: str | bool) -> dict[str, Any]:
        """What a JavaScript function gives in the browsing context, as a BiDi remote value.

        A promise is awaited. Raises BidiError, also when the function throws.
        """
        result = self.command(
            "script.callFunction",
            functionDeclaration=function,
            arguments=[_local_value(argument) for argument in arguments],
            target={"context": context},
            awaitPromise=True,
            userActivation=False,
        )
        if result["type"] == "exception":
            raise BidiError(result["exceptionDetails"]["text"])
        return dict(result["result"])

    def close(self) -> None:
        self._loop.run(self._disconnect())
        self._loop.close()

    async def _connect(self, url: str) -> None:
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(url, max_msg_size=0)

    async def _disconnect(self) -> None:
        await self._http.close()

    async def _command(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        command_id = next(self._ids)
        await self._socket.send_json({"id": command_id, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise BidiError(f"{method}: the browser closed the connection")
            answer = message.json()
            if answer.get("id") != command_id:
                continue
            if answer["type"] == "error":
                raise BidiError(f"{method}: {answer['error']}: {answer['message']}")
            return dict(answer["result"])


def _local_value(value: str | bool) -> dict[str, Any]:
    return {"type": "boolean" if isinstance(value, bool) else "string", "value": value}

"""A screen that nobody sits at, for what a browser draws itself: pages do not reach that."""

import os
import struct
import subprocess
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from programs import find_program

WIDTH, HEIGHT = 1300, 900
BYTES_PER_PIXEL = 4
PATIENCE = timedelta(seconds=20)
STILL_FOR = timedelta(seconds=1)
POLL_INTERVAL = timedelta(milliseconds=100)

Picture = tuple[bytes, ...]


class VirtualScreen:
    """An X server without a device (Xvfb), with a keyboard that the test types on.

    Programs that are started with `environment()` open their windows here.
    """

    def __init__(self) -> None:
        server = find_program("Xvfb", package="xvfb")
        self._keyboard = find_program("xdotool", package="xdotool")
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="screen-"))
            self._pixels = Path(folder, "Xvfb_screen0")
            number, told = os.pipe()
            self._process = subprocess.Popen(
                [
                    *(server, "-displayfd", str(told), "-fbdir", folder, "-nolisten", "tcp"),
                    *("-screen", "0", f"{WIDTH}x{HEIGHT}x24"),
                ],
                pass_fds=[told],
                stderr=subprocess.DEVNULL,
            )
            stack.callback(self._process.wait)
            stack.callback(self._process.terminate)
            os.close(told)
            with os.fdopen(number) as answer:
                self._display = f":{answer.readline().strip()}"
            self._running = stack.pop_all()

    def environment(self) -> dict[str, str]:
        """The environment variables that bring a program to this screen."""
        return {"DISPLAY": self._display}

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other, wherever the focus is: `Tab`, `Return`, `Escape`."""
        environment = os.environ | self.environment()
        subprocess.run([self._keyboard, "key", *keys], env=environment, check=True)

    def picture(self, left: int, top: int, right: int, bottom: int) -> Picture:
        """The pixels of a part of the screen, row by row."""
        content = self._pixels.read_bytes()
        # The format xwd: behind a header stand its colours, of 12 bytes each.
        header = struct.unpack_from(">20I", content)
        row, start = header[12], header[0] + 12 * header[19]
        return tuple(
            content[at + left * BYTES_PER_PIXEL : at + right * BYTES_PER_PIXEL]
            for at in range(start + top * row, start + bottom * row, row)
        )

    def wait_until_still(self, *part: int, unlike: Picture | None = None) -> Picture:
        """The picture of a part of the screen that has not changed for a moment.

        With `unlike`, one that is another. Raises TimeoutError.
        """
        deadline = time.monotonic() + PATIENCE.total_seconds()
        picture, since = self.picture(*part), time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL.total_seconds())
            now = self.picture(*part)
            if now != picture:
                picture, since = now, time.monotonic()
            elif picture != unlike and time.monotonic() - since > STILL_FOR.total_seconds():
                return picture
        raise TimeoutError(f"the screen's part {part} did not change, or went on changing")

    def close(self) -> None:
        self._running.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

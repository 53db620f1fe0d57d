"""Starts and drives Debian's Chromium, closed off from the network."""

import os
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from browser import PATIENCE, Answer, Browser, PageError
from google_push import GooglePush
from playwright.sync_api import Error, sync_playwright
from programs import find_program

START_TIMEOUT = timedelta(seconds=60)

THIS_MACHINE = ("localhost", "*.localhost", "127.0.0.1")

CLOSED_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND" + "".join(
    f", EXCLUDE {host}" for host in THIS_MACHINE
)


class Chromium(Browser):
    """Headless Chromium whose push messages come from `push` and whose notifications go to the
    desktop that `environment` names.

    A headless Chromium has no permission prompt to click: `answer_permission` sets the answer
    that the prompt would have given, for the origin of the open page.
    """

    name = "Chromium"

    def __init__(self, push: GooglePush, environment: dict[str, str]) -> None:
        self.push = push.route
        program = find_program("chromium", package="chromium")
        self._profile = TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._playwright = sync_playwright().start()
        try:
            # Only a profile on disk can subscribe; without background networking it never does.
            self._context = self._playwright.chromium.launch_persistent_context(
                self._profile.name,
                executable_path=program,
                headless=True,
                args=[CLOSED_NETWORK, *push.chromium_arguments()],
                ignore_default_args=["--disable-background-networking"],
                env={**os.environ, "HOME": self._profile.name, **environment},
                timeout=START_TIMEOUT.total_seconds() * 1000,
            )
        except BaseException:
            self._playwright.stop()
            self._profile.cleanup()
            raise
        self._page = self._context.pages[0]
        self._devtools = self._context.new_cdp_session(self._page)

    def open(self, url: str) -> None:
        self._page.goto(url)

    def answer_permission(self, answer: Answer) -> None:
        page = urlsplit(self._page.url)
        self._devtools.send(
            "Browser.setPermission",
            {
                "permission": {"name": "notifications"},
                "setting": answer,
                "origin": f"{page.scheme}://{page.netloc}",
            },
        )

    def click(self, selector: str, timeout: timedelta = PATIENCE) -> None:
        # Playwright's own CSS looks into open shadow roots.
        self._page.click(selector.replace(">>>", ">>"), timeout=timeout.total_seconds() * 1000)

    def urls(self) -> list[str]:
        targets = self._devtools.send("Target.getTargets")["targetInfos"]
        return [target["url"] for target in targets if target["type"] == "page"]

    def screenshot(self, path: Path, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})
        self._page.screenshot(path=path)

    def close(self) -> None:
        try:
            self._context.close()
        finally:
            self._playwright.stop()
            self._profile.cleanup()

    def _evaluate_to_text(self, expression: str) -> str | None:
        # Not page.evaluate: that counts as a user gesture, and a page's own content security
        # policy can forbid it.
        try:
            answer: dict[str, Any] = self._devtools.send(
                "Runtime.evaluate",
                {
                    "expression": expression,
                    "awaitPromise": True,
                    "returnByValue": True,
                    "userGesture": False,
                },
            )
        except Error as error:
            raise PageError(error.message) from error
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

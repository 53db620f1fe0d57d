"""Starts and drives Debian's Chromium, closed off from the network."""

import atexit
import functools
import json
import os
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

from browser import PATIENCE, Answer, Browser, PageError
from desktop import Desktop
from google_push import GooglePush
from playwright.sync_api import Error, Playwright, ViewportSize, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from programs import find_program

START_TIMEOUT = timedelta(seconds=60)

CONTENT_SETTINGS: dict[Answer, int] = {"granted": 1, "denied": 2}
"""How a profile writes them."""

Scheme = Literal["light", "dark"]

FIRST_SIZE: ViewportSize = {"width": 1280, "height": 720}

THIS_MACHINE = ("localhost", "*.localhost", "127.0.0.1")

CLOSED_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND" + "".join(
    f", EXCLUDE {host}" for host in THIS_MACHINE
)


class Chromium(Browser):
    """Chromium whose push messages come from `push` and whose notifications go to `desktop`.

    With `headed`, its windows open on the screen that `environment` names.

    A headless Chromium has no permission prompt to click: `answer_permission` sets the answer
    that the prompt would have given, for the origin of the open page.
    """

    name = "Chromium"

    def __init__(
        self,
        push: GooglePush,
        desktop: Desktop,
        environment: dict[str, str] | None = None,
        *,
        headed: bool = False,
    ) -> None:
        self.desktop = desktop
        self._headless = not headed
        self.push = push.route
        self._program = find_program("chromium", package="chromium")
        self._arguments = [CLOSED_NETWORK, *push.chromium_arguments()]
        self._profile = TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._environment: dict[str, str | float | bool] = {
            **os.environ,
            "HOME": self._profile.name,
            **desktop.environment(),
            **(environment or {}),
        }
        self._answers: dict[str, Answer] = {}
        self._running = ExitStack()
        try:
            self.start()
        except BaseException:
            self._profile.cleanup()
            raise

    def start(self) -> None:
        self._write_answers()
        with ExitStack() as stack:
            # Only a profile on disk can subscribe, and only with background networking.
            context = stack.enter_context(
                _playwright().chromium.launch_persistent_context(
                    self._profile.name,
                    executable_path=self._program,
                    headless=self._headless,
                    no_viewport=not self._headless,  # it has a window, then
                    args=self._arguments,
                    ignore_default_args=["--disable-background-networking"],
                    env=self._environment,
                    timeout=START_TIMEOUT.total_seconds() * 1000,
                )
            )
            self._page = context.pages[0]
            self._devtools = context.new_cdp_session(self._page)
            stack.callback(self._stop_workers)
            self._running = stack.pop_all()

    def open(self, url: str) -> None:
        try:
            self._page.goto(url)
        except Error as error:
            raise PageError(error.message) from error

    def open_beside(self, url: str) -> None:
        self._devtools.send("Target.createTarget", {"url": url, "background": True})

    def answer_permission(self, answer: Answer) -> None:
        page = urlsplit(self._page.url)
        origin = f"{page.scheme}://{page.netloc}"
        self._answers[origin] = answer
        self._devtools.send(
            "Browser.setPermission",
            {"permission": {"name": "notifications"}, "setting": answer, "origin": origin},
        )

    def click(self, selector: str, timeout: timedelta = PATIENCE) -> None:
        # Playwright's own CSS looks into open shadow roots.
        element = self._page.locator(selector.replace(">>>", ">>")).first
        try:
            element.click(timeout=timeout.total_seconds() * 1000)
        except PlaywrightTimeoutError as error:
            raise TimeoutError(f"{error.message}\npage: {self._text_or_problem()}") from error

    def urls(self) -> list[str]:
        targets = self._devtools.send("Target.getTargets")["targetInfos"]
        return [target["url"] for target in targets if target["type"] == "page"]

    def close_others(self) -> None:
        own = self._devtools.send("Target.getTargetInfo")["targetInfo"]["targetId"]
        for target in self._devtools.send("Target.getTargets")["targetInfos"]:
            if target["type"] == "page" and target["targetId"] != own:
                self._devtools.send("Target.closeTarget", {"targetId": target["targetId"]})
        self._page.bring_to_front()

    def screenshot(self, path: Path, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})
        self._page.screenshot(path=path)

    def _look_as_at_first(self) -> None:
        self._page.set_viewport_size(FIRST_SIZE)
        self.prefer("light")
        self.prefer_stillness(False)

    def prefer(self, scheme: Scheme) -> None:
        """What the reader's system is set to."""
        self._page.emulate_media(color_scheme=scheme)

    def prefer_stillness(self, still: bool) -> None:
        """Whether the reader's system is set to move as little as it can."""
        self._page.emulate_media(reduced_motion="reduce" if still else "no-preference")

    def quit(self) -> None:
        self._running.close()

    def close(self) -> None:
        try:
            self.quit()
        finally:
            self._profile.cleanup()

    def _stop_workers(self) -> None:
        """Else a closing browser waits half a minute for one that still works on a message."""
        self._devtools.send("ServiceWorker.enable")
        self._devtools.send("ServiceWorker.stopAllWorkers")

    def _write_answers(self) -> None:
        """Keeps permissions in the profile, as the prompt does: those set over DevTools end
        with the browser, and without its permission a subscription ends too."""
        if not self._answers:
            return
        file = Path(self._profile.name, "Default", "Preferences")
        preferences = json.loads(file.read_text())
        settings = preferences["profile"]["content_settings"]["exceptions"]["notifications"]
        for origin, answer in self._answers.items():
            settings[f"{origin},*"] = {"setting": CONTENT_SETTINGS[answer]}
        file.write_text(json.dumps(preferences))

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
        value: str | None = answer["result"].get("value")
        return value


@functools.cache
def _playwright() -> Playwright:
    """The one for all browsers: a thread cannot have a second."""
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright

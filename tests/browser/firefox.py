"""Starts and drives a stock Firefox, closed off from the network."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from bidi import BidiError, BidiSession
from browser import PATIENCE, POLL_INTERVAL, Answer, Browser, PageError, PushRoute
from desktop import Desktop
from programs import find_program

START_TIMEOUT = timedelta(seconds=60)
STOP_TIMEOUT = timedelta(seconds=20)

NOWHERE = ("127.0.0.1", 9)
"""A proxy that is not there: what is not on this machine cannot be reached."""

PREFERENCES: dict[str, str | int | bool] = {
    "network.proxy.type": 1,
    "network.proxy.http": NOWHERE[0],
    "network.proxy.http_port": NOWHERE[1],
    "network.proxy.ssl": NOWHERE[0],
    "network.proxy.ssl_port": NOWHERE[1],
    "alerts.useSystemBackend": True,
    "dom.push.connection.enabled": True,
    "dom.push.testing.allowInsecureServerURL": True,
    # Else the permission prompt ignores clicks in its first half second.
    "security.notification_enable_delay": 0,
    # Keep to the preferences of a reader's Firefox: those for automation switch push off.
    "remote.prefs.recommended": False,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}

# Runs in the browser's own window, where the permission prompt is: now, or once it is there.
ANSWER_PROMPT = """
(answer) => {
  const panel = PopupNotifications.panel;
  const press = () => {
    const prompt = panel.firstElementChild;
    if (answer === "granted") return prompt.button.click();
    if (answer === "denied") return prompt.secondaryButton.click();
    // The page has the focus, as after a person's click on it.
    gBrowser.selectedBrowser.focus();
    const keyboard =
      Cc["@mozilla.org/text-input-processor;1"].createInstance(Ci.nsITextInputProcessor);
    keyboard.beginInputTransactionForTests(window);
    const key = new KeyboardEvent("", { key: "Escape", code: "Escape" });
    keyboard.keydown(key);
    keyboard.keyup(key);
  };
  panel.removeEventListener("popupshown", window.answerPrompt);
  window.answerPrompt = press;
  if (panel.state === "open") press();
  else panel.addEventListener("popupshown", press, { once: true });
}
"""

# The element once it is visible, on the screen and not covered by another; else null.
FIND_CLICKABLE = """
async (selector) => {
  let root = document, element = null;
  for (const part of selector.split(">>>")) {
    element = root?.querySelector(part);
    root = element?.shadowRoot;
  }
  if (!element?.checkVisibility({ visibilityProperty: true })) return null;
  element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
  const place = () => JSON.stringify(element.getBoundingClientRect());
  const before = place();
  await new Promise(requestAnimationFrame);
  if (place() !== before) return null;
  const { x, y, width, height } = element.getBoundingClientRect();
  const hit = element.getRootNode().elementFromPoint(x + width / 2, y + height / 2);
  return element.contains(hit) ? element : null;
}
"""


class Firefox(Browser):
    """Headless Firefox whose push messages come from the autopush service at `push_origin`
    (`http://localhost:…`) and whose notifications go to `desktop`; `environment` is its own.

    `answer_permission` clicks the buttons of the real permission prompt: of one that is open
    already, or of the next.
    """

    name = "Firefox"

    def __init__(
        self, push_origin: str, desktop: Desktop, environment: dict[str, str] | None = None
    ) -> None:
        self.desktop = desktop
        self.push = PushRoute(push_origin)
        self._program = find_program("firefox-esr", "firefox", package="firefox-esr")
        self._directory = TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True)
        home = {"HOME": self._directory.name, "TMPDIR": self._directory.name}
        self._environment = os.environ | home | desktop.environment() | (environment or {})
        self._log = Path(self._directory.name, "output")
        self._profile = Path(self._directory.name, "profile")
        self._profile.mkdir()
        self._address_file = self._profile / "WebDriverBiDiServer.json"
        push_url = push_origin.replace("http", "ws", 1) + "/"
        preferences = PREFERENCES | {"dom.push.serverURL": push_url}
        self._profile.joinpath("user.js").write_text(
            "".join(
                f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                for name, value in preferences.items()
            )
        )
        self._running = ExitStack()
        try:
            self.start()
        except BaseException:
            self._directory.cleanup()
            raise

    def start(self) -> None:
        self._address_file.unlink(missing_ok=True)
        with ExitStack() as stack:
            process = self._launch()
            stack.callback(_end_group, process)
            session = BidiSession(self._wait_for_address(process))
            stack.callback(_quit, session, process)
            self._session = session
            self._tab = self._contexts()[0]["context"]
            self._running = stack.pop_all()

    def open(self, url: str) -> None:
        try:
            self._session.command(
                "browsingContext.navigate", context=self._tab, url=url, wait="complete"
            )
        except BidiError as error:
            raise PageError(str(error)) from error

    def open_beside(self, url: str) -> None:
        tab = self._session.command("browsingContext.create", type="tab", background=True)
        context = tab["context"]
        self._session.command("browsingContext.navigate", context=context, url=url, wait="none")

    def answer_permission(self, answer: Answer) -> None:
        self._at_prompt(answer)

    def press_escape_at_permission(self) -> None:
        """Like `answer_permission`, with the key instead of a button."""
        self._at_prompt("escape")

    def click(self, selector: str, timeout: timedelta = PATIENCE) -> None:
        def find() -> str | None:
            try:
                return self._session.call(self._tab, FIND_CLICKABLE, selector).get("sharedId")
            except BidiError:  # also while the page is on its way to another
                return None

        element = self._poll(find, timeout, f"{selector} to be clickable")
        origin = {"type": "element", "element": {"sharedId": element}}
        press = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": press}
        self._session.command("input.performActions", context=self._tab, actions=[mouse])

    def urls(self) -> list[str]:
        return [context["url"] for context in self._contexts()]

    def close_others(self) -> None:
        for context in self._contexts():
            if context["context"] != self._tab:
                self._session.command("browsingContext.close", context=context["context"])
        self._session.command("browsingContext.activate", context=self._tab)

    def screenshot(self, path: Path, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        self._session.command("browsingContext.setViewport", context=self._tab, viewport=viewport)
        taken = self._session.command("browsingContext.captureScreenshot", context=self._tab)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _look_as_at_first(self) -> None:
        self._session.command("browsingContext.setViewport", context=self._tab, viewport=None)

    def quit(self) -> None:
        self._running.close()

    def close(self) -> None:
        try:
            self.quit()
        finally:
            self._directory.cleanup()

    def _evaluate_to_text(self, expression: str) -> str | None:
        try:
            return self._session.call(self._tab, f"() => {expression}").get("value")
        except BidiError as error:
            raise PageError(str(error)) from error

    def _at_prompt(self, answer: str) -> None:
        window = self._contexts("chrome")[0]["context"]
        self._session.call(window, ANSWER_PROMPT, answer)

    def _contexts(self, scope: str = "content") -> list[dict[str, str]]:
        """The tabs, or in the scope `chrome` the browser's own windows."""
        tree = self._session.command("browsingContext.getTree", **{"moz:scope": scope})
        return list(tree["contexts"])

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [
            *(self._program, "--headless", "--no-remote", "--profile", str(self._profile)),
            *("--remote-debugging-port", "0", "--remote-allow-system-access", "about:blank"),
        ]
        with self._log.open("w") as log:
            return subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_for_address(self, process: subprocess.Popen[bytes]) -> str:
        """Firefox chooses a port and writes it into its profile."""
        deadline = time.monotonic() + START_TIMEOUT.total_seconds()
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                address = json.loads(self._address_file.read_text())
                return f"ws://{address['ws_host']}:{address['ws_port']}/session"
            time.sleep(POLL_INTERVAL.total_seconds())
        raise RuntimeError(f"Firefox did not start: {self._log.read_text()[-2000:]}")


def _quit(session: BidiSession, process: subprocess.Popen[bytes]) -> None:
    """Lets Firefox write down what it knows; one that does not answer is left to be killed."""
    with contextlib.suppress(BidiError, OSError, TimeoutError):
        session.command("browser.close")
    session.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT.total_seconds())


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

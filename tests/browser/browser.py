"""What a test can do with a browser, whichever it is."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from desktop import Desktop

T = TypeVar("T")

Answer = Literal["granted", "denied"]

PATIENCE = timedelta(seconds=20)
"""How long to wait for what should come soon; a busy machine may need nearly all of it."""

POLL_INTERVAL = timedelta(milliseconds=50)

VISIBLE_TEXT = """
(() => {
  const texts = [document.body.innerText];
  const visit = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (!element.shadowRoot) continue;
      for (const child of element.shadowRoot.children) {
        if (child.checkVisibility()) texts.push(child.innerText);
      }
      visit(element.shadowRoot);
    }
  };
  visit(document);
  return texts.join("\\n");
})()
"""


@dataclass(frozen=True)
class PushRoute:
    """How a sender reaches the push service of a browser."""

    origin: str
    """What the endpoints of its subscriptions begin with."""
    connect_to: str | None = None
    """For CURLOPT_CONNECT_TO, where the origin's host is not to be looked up."""
    ca_file: Path | None = None
    """The certificate authority to trust."""


class PageError(Exception):
    """JavaScript threw, or the page went away while it ran."""


class Browser(ABC):
    """A real browser with one tab to begin with, a new profile and no way to the internet.

    It is running when it is made. Everything but `urls` concerns that first tab. A selector is
    CSS; `outer >>> inner` looks for `inner` in the open shadow root of `outer`:
    `#notifier-prompt >>> button.yes`.
    """

    name: str
    push: PushRoute
    desktop: Desktop
    """Where its notifications appear."""

    @abstractmethod
    def open(self, url: str) -> None:
        """Navigates and waits for the page to be loaded. Raises PageError without one."""

    @abstractmethod
    def open_beside(self, url: str) -> None:
        """Opens another tab behind the first, and does not wait for its page."""

    @abstractmethod
    def answer_permission(self, answer: Answer) -> None:
        """Decides how the reader answers the permission prompt that the next click raises.

        Call it on the page that will ask, right before that click: a browser without a prompt
        that can be clicked sets the answer at once.
        """

    @abstractmethod
    def click(self, selector: str, timeout: timedelta = PATIENCE) -> None:
        """Clicks the first element that matches: a gesture that the page may trust.

        Waits until it is visible and nothing covers it; else raises TimeoutError.
        """

    @abstractmethod
    def urls(self) -> list[str]:
        """The addresses of all open tabs."""

    @abstractmethod
    def close_others(self) -> None:
        """Closes all tabs but the first, which then is in front."""

    @abstractmethod
    def screenshot(self, path: Path, width: int, height: int) -> None:
        """Writes a PNG of the tab in a window of this many CSS pixels, which it then keeps."""

    @abstractmethod
    def _look_as_at_first(self) -> None:
        """Gives the window its first size again, and the reader's system its first settings."""

    @abstractmethod
    def start(self) -> None:
        """Starts it again after `quit`, with a new tab."""

    @abstractmethod
    def quit(self) -> None:
        """Ends the browser with all its processes, as a reader does: the profile stays."""

    @abstractmethod
    def close(self) -> None:
        """Quits, if it is running, and deletes the profile."""

    @abstractmethod
    def _evaluate_to_text(self, expression: str) -> str | None:
        """The result of an expression that gives a promise of text, awaited.

        Raises PageError when it is rejected or cannot be finished.
        """

    def tidy_up(self) -> None:
        """One tab of the first size, for the next test; what pages have stored stays."""
        self.close_others()
        self._look_as_at_first()

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression; a promise is awaited.

        It counts as no user gesture. Raises PageError.
        """
        text = self._evaluate_to_text(f"(async () => JSON.stringify(await ({expression})))()")
        return None if text is None else json.loads(text)

    def wait_for(self, expression: str, timeout: timedelta = PATIENCE) -> Any:
        """Evaluates the expression until it is truthy; gives its value.

        Raises TimeoutError, which tells what the page showed instead.
        """
        problem: PageError | None = None

        def truthy() -> Any:
            nonlocal problem
            try:
                problem = None
                return self.evaluate(expression)
            except PageError as error:  # also while the page is on its way to another
                problem = error
                return None

        try:
            return self._poll(truthy, timeout, expression)
        except TimeoutError as error:
            raise error from problem

    def wait_for_tab(self, url: str, timeout: timedelta = PATIENCE) -> None:
        """Waits until a tab shows exactly this address."""
        self._poll(lambda: url in self.urls(), timeout, f"a tab with {url}")

    def text(self) -> str:
        """What the page shows, open shadow roots included."""
        return str(self.evaluate(VISIBLE_TEXT))

    def _poll(self, check: Callable[[], T], timeout: timedelta, wanted: str) -> T:
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            if result := check():
                return result
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.name} waited in vain for: {wanted}\n"
                    f"open tabs: {self.urls()}\npage: {self._text_or_problem()}"
                )
            time.sleep(POLL_INTERVAL.total_seconds())

    def _text_or_problem(self) -> str:
        try:
            return self.text()
        except PageError as error:
            return repr(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""An editor with a browser, for the tests of the newsroom: fills in forms and sends them."""

from html import unescape
from html.parser import HTMLParser
from typing import Any, Self

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from notifier import editors
from notifier.db import Database

EMAIL = "ines@example.com"
PASSWORD = "a bridge at dawn"


class Forms(HTMLParser):
    """The forms of a page: for each action the values that a browser would send."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, list[str]]] = {}
        self._values: dict[str, list[str]] = {}
        self._textarea: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "form":
            self._values = self.found.setdefault((values.get("action") or "").partition("#")[0], {})
        elif tag == "textarea":
            self._textarea = values["name"]
        elif tag == "input" and (values.get("type") != "checkbox" or "checked" in values):
            self._values.setdefault(str(values.get("name")), []).append(values.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._values[self._textarea] = [data]

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = None


class EditorsBrowser:
    """One browser: its cookies, and the page that it shows."""

    def __init__(self, app: Flask, address: str = "127.0.0.1") -> None:
        self.client: FlaskClient = app.test_client()
        self.address = address
        self.page: TestResponse

    @classmethod
    def signed_in(cls, app: Flask, db: Database, email: str = EMAIL) -> Self:
        """A new editor's browser, who has come in by a one-time link."""
        with db.write() as session:
            token = editors.invite(session, email)
        browser = cls(app)
        browser.open(f"/newsroom/welcome/{token}")
        browser.send("", password=PASSWORD)
        assert browser.page.status_code == 303
        return browser

    def open(self, path: str, **headers: str) -> TestResponse:
        self.page = self.client.get(path, headers=headers, **self._from)
        return self.page

    def send(self, action: str, **changes: Any) -> TestResponse:
        """Send the form of the page that goes to `action` (or to a formaction of it)."""
        values = self.form(changes.pop("form", action)) | changes
        path = action or self.page.request.path
        self.page = self.client.post(path, data=values, **self._from)
        return self.page

    def form(self, action: str) -> dict[str, list[str]]:
        return Forms(self.page.text).found[action]

    def follow(self) -> TestResponse:
        assert self.page.status_code in (302, 303), self.page.text
        return self.open(self.page.headers["Location"])

    @property
    def text(self) -> str:
        """What the page says, with entities as the characters that they stand for."""
        return unescape(self.page.text)

    @property
    def _from(self) -> dict[str, Any]:
        return {"environ_overrides": {"REMOTE_ADDR": self.address}}

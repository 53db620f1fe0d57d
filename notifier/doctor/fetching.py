"""Fetches a page's files as a browser would."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from urllib.parse import urlsplit

import requests

from notifier.doctor.csp import Policy

TIMEOUT = timedelta(seconds=10)
MOST_BYTES = 5_000_000
_CHUNK = 65_536

# Some sites answer programs other than browsers differently.
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

# MIME Sniffing Standard, "JavaScript MIME type".
_JAVASCRIPT = {
    *(f"text/javascript1.{minor}" for minor in range(6)),
    "application/ecmascript", "application/javascript", "application/x-ecmascript",
    "application/x-javascript", "text/ecmascript", "text/javascript", "text/jscript",
    "text/livescript", "text/x-ecmascript", "text/x-javascript",
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What came back, after redirects if they were to be followed."""

    url: str
    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    text: str

    @classmethod
    def of(cls, response: requests.Response) -> Self:
        body = b""
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > MOST_BYTES:
                break
        charset = response.encoding if "charset" in response.headers.get("Content-Type", "") else ""
        try:
            text = body.decode(charset or "utf-8", "replace")
        except LookupError:
            text = body.decode("utf-8", "replace")
        return cls(response.url, response.status_code, response.headers, text)

    @property
    def origin(self) -> str:
        return origin_of(self.url)

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_javascript(self) -> bool:
        return self.media_type in _JAVASCRIPT

    @property
    def policies(self) -> list[Policy]:
        """The policies of its header; several are joined by commas."""
        header = self.headers.get("Content-Security-Policy", "")
        return [Policy.parse(part, self.origin) for part in header.split(",") if part.strip()]


class Fetcher:
    """A browser's session without its cookies."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["User-Agent"] = _BROWSER
        # A password that stands in a .netrc is nothing that readers' browsers send.
        self._session.auth = lambda request: request

    def get(self, url: str, *, follow: bool = True, **headers: str) -> Answer | str:
        """The answer, or in plain words why there is none; `_` in a header's name means `-`."""
        return self._ask("GET", url, headers, follow=follow)

    def preflight(self, url: str, origin: str) -> Answer | str:
        """Asks what a browser asks before a page at `origin` may send JSON to `url`."""
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        return self._ask("OPTIONS", url, headers, follow=False)

    def close(self) -> None:
        self._session.close()

    def _ask(self, method: str, url: str, headers: dict[str, str], *, follow: bool) -> Answer | str:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with self._session.request(
                method,
                url,
                headers=headers,
                allow_redirects=follow,
                timeout=TIMEOUT.total_seconds(),
                stream=True,
            ) as response:
                return Answer.of(response)
        except requests.exceptions.SSLError:
            return "its certificate is not one that browsers trust"
        except requests.exceptions.TooManyRedirects:
            return "it redirects without end"
        except requests.exceptions.Timeout:
            return f"it did not answer within {TIMEOUT.total_seconds():.0f} seconds"
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            return "that is not an address that a browser could open"
        except requests.RequestException:
            return "it cannot be reached: the name may be wrong, or nothing listens there"
        finally:
            self._session.cookies.clear()


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def is_http_address(url: str) -> bool:
    """Whether it names a host by http or https."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)

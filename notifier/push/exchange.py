"""One request and its answer on one of libcurl's handles."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import pycurl

from notifier.push.hosts import Host
from notifier.push.outcome import Answer

MAX_ANSWER = 16 * 1024
"""Bytes of an answer, headers and body, that are read before it is cut off."""

_FIRST_LETTERS = frozenset((b"R", b"r", b"X", b"x", b"H"))  # Retry-After, X-WNS-Status, HTTP/
_ERROR_NAMES = {
    getattr(pycurl, name): name.removeprefix("E_")
    for name in sorted(dir(pycurl), reverse=True)  # of synonyms, the first in the alphabet
    if name.startswith("E_") and not name.startswith(("E_FTP_", "E_MULTI_"))
}


class PushRequest(NamedTuple):
    """One POST. `headers` are whole lines, "Name: value", without line ends."""

    url: str
    headers: tuple[str, ...]
    body: bytes


class Exchange:
    """One of libcurl's handles, which are used again and again, with its request and answer.

    `token` is the caller's, `host` that of the request, and `sent_at` monotonic time.
    """

    __slots__ = (
        "curl",
        "headers",
        "host",
        "may_share",
        "received",
        "request",
        "retry_after",
        "sent_at",
        "token",
        "wns_status",
    )

    def __init__(self, options: Sequence[tuple[int, object]]) -> None:
        self.curl = pycurl.Curl()
        self.headers: tuple[str, ...] | None = None
        self.may_share: bool | None = None
        self.sent_at = -math.inf
        for option, value in options:
            self.curl.setopt(option, value)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._read_header)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._read_body)

    def prepare(self, token: object, request: PushRequest, host: Host[Self]) -> None:
        """Take a request on. Raises pycurl.error or UnicodeError when libcurl cannot send it."""
        self.token = token
        self.request = request
        self.host = host
        self.received = 0
        self.retry_after: str | None = None
        self.wns_status: str | None = None
        self.curl.setopt(pycurl.URL, request.url)
        if host.multiplexes is not self.may_share:
            # Wait to share a connection that is being made, but only where HTTP/2 may come of it:
            # elsewhere libcurl would wait for the whole first answer.
            self.curl.setopt(pycurl.PIPEWAIT, host.multiplexes)
            self.may_share = host.multiplexes
        # Most requests carry the headers of the one before, and libcurl has kept those.
        if request.headers is not self.headers:
            self.curl.setopt(pycurl.HTTPHEADER, request.headers)
            self.headers = request.headers
        self.curl.setopt(pycurl.POSTFIELDS, request.body)

    def came_over_http2(self) -> bool:
        """Whether the answer came over a connection that carries many requests at once."""
        return bool(self.curl.getinfo(pycurl.INFO_HTTP_VERSION) >= pycurl.CURL_HTTP_VERSION_2_0)

    def answer(self, error_number: int | None) -> Answer:
        """What came of the request; `error_number` is libcurl's, None when all went well."""
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        error = None
        if error_number is not None:
            error = _ERROR_NAMES.get(error_number, f"CURLE_{error_number}")
        if status >= 200:
            return Answer(status, self.retry_after, self.wns_status, True, error)
        written = self.curl.getinfo(pycurl.SIZE_UPLOAD_T) >= len(self.request.body)
        return Answer(None, request_written=written, error=error)

    def _read_header(self, line: bytes) -> int | None:
        """Note what matters of one header line; 0 breaks off, None goes on."""
        self.received += len(line)
        if self.received > MAX_ANSWER:
            return 0
        if line[:1] in _FIRST_LETTERS:  # most lines are spared a closer look
            name, _, value = line.partition(b":")
            match name.lower():
                case b"retry-after":
                    self.retry_after = value.strip().decode("latin-1")
                case b"x-wns-status":
                    self.wns_status = value.strip().decode("latin-1")
                case _ if line.startswith(b"HTTP/"):  # what came before was an interim answer's
                    self.retry_after = self.wns_status = None
        return None

    def _read_body(self, data: bytes) -> int:
        """Throw a part of the body away; returns how much was taken, 0 to break off."""
        self.received += len(data)
        return len(data) if self.received <= MAX_ANSWER else 0

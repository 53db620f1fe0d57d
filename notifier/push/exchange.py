"""One request and its answer on one of libcurl's handles."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import pycurl

from notifier.push.hosts import Host
from notifier.push.outcome import Answer

MAX_BODY = 16 * 1024
"""Bytes of an answer's body that are read before it is cut off; libcurl cuts off its headers."""

_NONE_OF_LIBCURLS_OWN = ("User-Agent:", "Accept:")  # a name without a value takes a header out
_FIRST_LETTERS = frozenset(b"RrXxH")  # of Retry-After, X-WNS-Status and HTTP/
_ERROR_NAMES = {8: "WEIRD_SERVER_REPLY", 100: "TOO_LARGE"} | {  # pycurl has no names for these
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
        "_answer_lines",
        "curl",
        "headers",
        "host",
        "may_share",
        "received",
        "request",
        "sent_at",
        "token",
    )

    def __init__(self, options: Sequence[tuple[int, object]]) -> None:
        self.curl = pycurl.Curl()
        self.headers: tuple[str, ...] | None = None
        self.may_share: bool | None = None
        self.sent_at = -math.inf
        for option, value in options:
            self.curl.setopt(option, value)
        # Not a function of ours: it is called for every line of every answer. libcurl ends an
        # answer with more than 300 KB of headers.
        self._answer_lines: list[bytes] = []
        self.curl.setopt(pycurl.HEADERFUNCTION, self._answer_lines.append)
        self.curl.setopt(pycurl.WRITEFUNCTION, self._read_body)

    def prepare(self, token: object, request: PushRequest, host: Host[Self]) -> None:
        """Take a request on. Raises pycurl.error or UnicodeError when libcurl cannot send it."""
        self.token = token
        self.request = request
        self.host = host
        self.received = 0
        self._answer_lines.clear()
        self.curl.setopt(pycurl.URL, request.url)
        if host.multiplexes is not self.may_share:
            # Wait to share a connection that is being made, but only where HTTP/2 may come of it:
            # elsewhere libcurl would wait for the whole first answer.
            self.curl.setopt(pycurl.PIPEWAIT, host.multiplexes)
            self.may_share = host.multiplexes
        # Most requests carry the headers of the one before, and libcurl has kept those.
        if request.headers is not self.headers:
            self.curl.setopt(pycurl.HTTPHEADER, (*request.headers, *_NONE_OF_LIBCURLS_OWN))
            self.headers = request.headers
        self.curl.setopt(pycurl.POSTFIELDS, request.body)

    def came_over_http2(self) -> bool:
        """Whether the answer came over a connection that carries many requests at once."""
        # libcurl knows the status, but hands no line over, when there is a NUL in it.
        return bool(self._answer_lines) and self._answer_lines[0].startswith(b"HTTP/2")

    def answer(self, error_number: int | None) -> Answer:
        """What came of the request; `error_number` is libcurl's, None when all went well."""
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        error = None
        if error_number is not None:
            error = _ERROR_NAMES.get(error_number, f"CURLE_{error_number}")
        if status >= 200:
            retry_after, wns_status = self._headers_that_matter()
            return Answer(status, retry_after, wns_status, True, error)
        return Answer(None, request_written=self._is_written(), error=error)

    def _is_written(self) -> bool:
        """Whether the push service may have read the whole request."""
        uploaded: int = self.curl.getinfo(pycurl.SIZE_UPLOAD_T)
        # When an old connection breaks, libcurl sends the request once more over a new one, and
        # counts the body, but not the headers, from zero.
        may_be_second_try = not uploaded and self.curl.getinfo(pycurl.REQUEST_SIZE) > 0
        return may_be_second_try or uploaded >= len(self.request.body)

    def _headers_that_matter(self) -> tuple[str | None, str | None]:
        """The final answer's Retry-After and X-WNS-Status."""
        retry_after: str | None = None
        wns_status: str | None = None
        for line in self._answer_lines:
            if line[0] not in _FIRST_LETTERS:  # most lines are spared a closer look
                continue
            if line.startswith(b"HTTP/"):  # what came before was an interim answer's
                retry_after = wns_status = None
                continue
            name, _, value = line.partition(b":")
            match name.lower():
                case b"retry-after":
                    retry_after = value.strip().decode("latin-1")
                case b"x-wns-status":
                    wns_status = value.strip().decode("latin-1")
        return retry_after, wns_status

    def _read_body(self, data: bytes) -> int:
        """Throw a part of the body away; returns how much was taken, 0 to break off."""
        self.received += len(data)
        return len(data) if self.received <= MAX_BODY else 0

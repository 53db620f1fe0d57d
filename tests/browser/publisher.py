"""Publishers' own web sites, on origins of their own, which embed the service's script."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

NONCE = "bm9uY2U"
MOST_SITES = 300

PAGE = """<!doctype html>
<html lang="{language}" dir="{direction}">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Ferry back in service</title>
<script nonce="{nonce}">
  // What the script says on the console and tells the page, for the tests to read.
  window.warnings = []; window.told = [];
  const warn = console.warn;
  console.warn = (...words) => (warnings.push(words.join(" ")), warn(...words));
  for (const name of ["ready", "prompted", "accepted", "declined", "denied", "subscribed",
                      "unsubscribed"]) {{
    document.addEventListener(`notifier:${{name}}`, () => told.push(name));
  }}
</script>
{head}
{script}
</head>
<body><main><h1>Ferry back in service</h1><p>It sails at nine.</p>{body}</main></body>
</html>"""


# An alert is shown without what storage knows when that takes half a second, as it may here.
PATIENCE = """{
  const after = self.setTimeout;
  self.setTimeout = (work, delay) => after(work, delay === 500 ? 15000 : delay);
}
"""


class File(NamedTuple):
    text: str
    content_type: str
    headers: dict[str, str]


@dataclass
class Site:
    """One publisher's site: an origin that has stored nothing yet, and the files on it."""

    origin: str
    service: str
    files: dict[str, File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.put("/notifier/sw.js", self.worker, "text/javascript")

    @property
    def bare_worker(self) -> str:
        """What the service worker of a publisher contains."""
        return f'importScripts("{self.service}/notifier-worker.js");'

    @property
    def worker(self) -> str:
        """The same, in a browser whose storage may be slow because the tests' machine is busy."""
        return PATIENCE + self.bare_worker

    @property
    def policy(self) -> str:
        """The strictest content security policy under which all has to work."""
        return "; ".join(
            (
                "default-src 'none'",
                f"script-src 'nonce-{NONCE}' 'strict-dynamic'",
                f"connect-src {self.service}",
                "worker-src 'self'",
                "require-trusted-types-for 'script'",
                "trusted-types notifier",
            )
        )

    def put(
        self,
        path: str,
        text: str,
        content_type: str = "text/html",
        headers: dict[str, str] | None = None,
    ) -> str:
        """Has a file served; gives its URL."""
        self.files[path] = File(text, content_type, headers or {})
        return self.origin + path

    def put_page(
        self,
        path: str = "/",
        *,
        attributes: str = "",
        script: str | None = None,
        head: str = "",
        body: str = "",
        language: str = "en",
        policy: str | None = None,
    ) -> str:
        """Has a page served with the script as documented, or another element in its place.

        An empty policy takes the strict one away.
        """
        if script is None:
            script = (
                f'<script nonce="{NONCE}" src="{self.service}/reader.js" defer {attributes}>'
                "</script>"
            )
        text = PAGE.format(
            language=language,
            direction="rtl" if language == "ar" else "ltr",
            nonce=NONCE,
            head=head,
            script=script,
            body=body,
        )
        policy = self.policy if policy is None else policy
        return self.put(path, text, headers={"Content-Security-Policy": policy} if policy else None)


class Publishers:
    """Serves any number of sites, each on a host of its own below `localhost`."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.requests: Counter[str] = Counter()
        """What was asked for, as `GET path`, on all sites together."""
        publishers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publishers.answer(self)

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origins = tuple(
            f"http://site-{number}.localhost:{self._server.server_port}"
            for number in range(MOST_SITES)
        )
        """The origins that the service has to allow."""

    def new_site(self, service: str) -> Site:
        site = Site(self.origins[len(self.sites)], service)
        self.sites[site.origin] = site
        return site

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests[f"GET {request.path}"] += 1
        # Each has a second name, which the service does not allow.
        site = self.sites[f"http://{request.headers['Host'].removeprefix('unknown.')}"]
        file = site.files.get(request.path.partition("?")[0])
        body = file.text.encode() if file else b""
        request.send_response(200 if file else 404)
        request.send_header("Content-Type", f"{file.content_type if file else 'text/html'}")
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Cache-Control", "no-store")
        for name, value in (file.headers if file else {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator["Publishers"]:
        publishers = cls()
        thread = threading.Thread(target=publishers._server.serve_forever)
        thread.start()
        try:
            yield publishers
        finally:
            publishers._server.shutdown()
            publishers._server.server_close()
            thread.join()

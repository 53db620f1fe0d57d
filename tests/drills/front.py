"""nginx in front of the local push service: HTTP/2 with TLS, as with the browsers' own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import nginx

from notifier.rehearsal.deployment import free_port

GOAWAY_AFTER = 1_000

_CONFIG = """
    access_log off;
    map $status $is_logged {{ default 0; 403 1; 410 1; }}
    log_format refusal "$msec $remote_port $status $uri";
    upstream push {{
        server 127.0.0.1:{push_port};
        keepalive 128;
        keepalive_requests 1000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto https;
    # What has been taken is delivered, though the sender has died meanwhile.
    proxy_ignore_client_abort on;
    proxy_next_upstream off;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        keepalive_requests 100000000;
        access_log refusals.log refusal if=$is_logged;
        location / {{ proxy_pass http://push; }}
    }}
    server {{
        # What harms comes through as it is, and whoever hangs up has hung up on the far side too.
        listen 127.0.0.1:{unbuffered_port} ssl http2;
        keepalive_requests 100000000;
        proxy_buffering off;
        proxy_ignore_client_abort off;
        location / {{ proxy_pass http://push; }}
    }}
    server {{
        listen 127.0.0.1:{goaway_port} http2;
        keepalive_requests {goaway_after};
        location / {{ proxy_pass http://push; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that refuses: when (a Unix time), to which of the sender's ports, for what."""

    at: float
    port: int
    status: int
    path: str


class Front:
    """Three ways to one push service, all HTTP/2.

    `origin` is the ordinary one, with TLS; `unbuffered_origin` is for answers that have no end.
    `goaway_port` speaks HTTP/2 without TLS, for the relay
    in stream_limit.py, and ends every connection by GOAWAY after 1,000 requests.
    """

    def __init__(self, folder: Path, push_port: int) -> None:
        self._folder = folder
        self.port, self.goaway_port = free_port(), free_port()
        self.unbuffered_port = free_port()
        self.origin = f"https://127.0.0.1:{self.port}"
        self.unbuffered_origin = f"https://127.0.0.1:{self.unbuffered_port}"
        http = _CONFIG.format(
            port=self.port,
            goaway_port=self.goaway_port,
            unbuffered_port=self.unbuffered_port,
            goaway_after=GOAWAY_AFTER,
            push_port=push_port,
        )
        self._nginx = nginx.running(folder, http, self.port)

    @property
    def certificate(self) -> Path:
        return self._folder / nginx.CERTIFICATE

    @property
    def key(self) -> Path:
        return self._folder / nginx.KEY

    def refusals(self, since: float) -> list[Refusal]:
        """The answers 403 and 410 on the ordinary way, since that time."""
        lines = (self._folder / "refusals.log").read_text().splitlines()
        fields = (line.split() for line in lines)
        refusals = [
            Refusal(float(at), int(port), int(status), path) for at, port, status, path in fields
        ]
        return [refusal for refusal in refusals if refusal.at >= since]

    def __enter__(self) -> Self:
        self._nginx.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._nginx.__exit__(*raised)

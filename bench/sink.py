"""The push service of the bench: nginx with TLS and HTTP/2, which reads a message and says 201."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import certifi
from notifier.rehearsal.deployment import free_port
from tests import nginx

# `return 201` would answer before the body is there. A mirror makes nginx read all of it first;
# only then does it look for a file, and not finding one is the answer.
_READ_AND_ACCEPT = """
        log_not_found off;
        root /nonexistent;
        error_page 404 405 =201 @accepted;
        location / { mirror /read; }
        location = /read { internal; return 204; }
        location @accepted { return 201; }
"""
_PASS_ON = """
        location / {
            proxy_pass http://127.0.0.1:%d;
            proxy_set_header Host $http_host;
            proxy_http_version 1.1;
        }
"""
_CONFIG = """
    log_format times "$msec";
    access_log {access_log};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_buffer_size 16k;
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_session_cache shared:tls:1m;
        {locations}
    }}
"""


@dataclass(frozen=True)
class Sink:
    """Where it listens, and whom to trust."""

    port: int
    folder: Path
    pid: int

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def all_ca_file(self) -> Path:
        """The public authorities and the sink's own, as in front of a real push service."""
        return self.folder / "authorities.pem"

    @property
    def times_file(self) -> Path:
        return self.folder / "times.log"

    @property
    def own_ca_file(self) -> Path:
        """Only the sink's own authority."""
        return self.folder / nginx.CERTIFICATE


@contextlib.contextmanager
def running(*, pass_on_to: int | None = None, log_times: bool = False) -> Iterator[Sink]:
    """Run a sink; with `pass_on_to` its answers come from that port, over plain HTTP.

    With `log_times` the time of every answer is a line of `Sink.times_file`.
    """
    with tempfile.TemporaryDirectory(prefix="notifier-bench-") as name:
        folder = Path(name)
        port = free_port()
        http = _CONFIG.format(
            port=port,
            locations=_READ_AND_ACCEPT if pass_on_to is None else _PASS_ON % pass_on_to,
            access_log="times.log times" if log_times else "off",
        )
        with nginx.running(folder, http, port, workers=2) as process:
            sink = Sink(port, folder, process.pid)
            authorities = (Path(certifi.where()), sink.own_ca_file)
            sink.all_ca_file.write_bytes(b"\n".join(file.read_bytes() for file in authorities))
            yield sink

"""The push service of the bench: nginx with TLS and HTTP/2, which reads a message and says 201."""

import contextlib
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

STARTS_WITHIN = timedelta(seconds=20)

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
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log;
worker_rlimit_nofile 8192;
events {{ worker_connections 4000; }}
http {{
    log_format times "$msec";
    access_log {access_log};
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_buffer_size 16k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_session_cache shared:tls:1m;
        {locations}
    }}
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
        return self.folder / "certificate.pem"


def is_available() -> bool:
    return _nginx() is not None


@contextlib.contextmanager
def running(*, pass_on_to: int | None = None, log_times: bool = False) -> Iterator[Sink]:
    """Run a sink; with `pass_on_to` its answers come from that port, over plain HTTP.

    With `log_times` the time of every answer is a line of `Sink.times_file`.
    """
    nginx = _nginx()
    if nginx is None:
        raise RuntimeError("the bench needs nginx (Debian: apt-get install nginx-light)")
    with tempfile.TemporaryDirectory(prefix="notifier-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx drops root and must still write its temporary files
        port = free_port()
        _make_certificate(folder)
        locations = _READ_AND_ACCEPT if pass_on_to is None else _PASS_ON % pass_on_to
        config = folder / "nginx.conf"
        access_log = f"{folder}/times.log times" if log_times else "off"
        config.write_text(
            _CONFIG.format(folder=folder, port=port, locations=locations, access_log=access_log)
        )
        process = subprocess.Popen([nginx, "-c", str(config), "-e", str(folder / "error.log")])
        try:
            _wait_for(port, process, folder / "error.log")
            yield Sink(port, folder, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _wait_for(port: int, process: subprocess.Popen[bytes], error_log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN.total_seconds()
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"nginx does not start: {error_log.read_text()}")
        time.sleep(0.02)


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the bench's push service")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    (folder / "certificate.pem").write_bytes(pem)
    (folder / "authorities.pem").write_bytes(Path(certifi.where()).read_bytes() + b"\n" + pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )

"""nginx in front of the local push service: HTTP/2 with TLS, as with the browsers' own."""

import ipaddress
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notifier.errors import NotReady
from notifier.rehearsal.deployment import free_port, wait_until

INSTALL = "nginx is not installed: `apt-get install nginx-light` or `brew install nginx`"
GOAWAY_AFTER = 1_000
_STARTS_WITHIN = timedelta(seconds=20)

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    map $status $is_logged {{ default 0; 403 1; 410 1; }}
    log_format refusal "$msec $remote_port $status $uri";
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/certificate.pem;
    ssl_certificate_key {folder}/key.pem;
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
        access_log {folder}/refusals.log refusal if=$is_logged;
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
        self._push_port = push_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def certificate(self) -> Path:
        return self._folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self._folder / "key.pem"

    def refusals(self, since: float) -> list[Refusal]:
        """The answers 403 and 410 on the ordinary way, since that time."""
        lines = (self._folder / "refusals.log").read_text().splitlines()
        fields = (line.split() for line in lines)
        refusals = [
            Refusal(float(at), int(port), int(status), path) for at, port, status, path in fields
        ]
        return [refusal for refusal in refusals if refusal.at >= since]

    def __enter__(self) -> Self:
        program = find()
        if program is None:
            raise NotReady(INSTALL)
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._folder.chmod(0o755)  # its worker is another user
        make_certificate(self.certificate, self.key)
        config = self._folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                port=self.port,
                goaway_port=self.goaway_port,
                unbuffered_port=self.unbuffered_port,
                goaway_after=GOAWAY_AFTER,
                push_port=self._push_port,
            )
        )
        errors = self._folder / "error.log"
        self._process = subprocess.Popen([program, "-c", config, "-e", errors])
        wait_until(self._is_up, _STARTS_WITHIN, f"nginx (see {errors})")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _is_up(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def find() -> str | None:
    """Where nginx is."""
    return shutil.which("nginx", path=os.defpath + ":/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def make_certificate(certificate_file: Path, key_file: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a push service for drills")])
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
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

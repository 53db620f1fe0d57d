"""nginx with TLS and HTTP/2, as push services have it, for the time of a block."""

import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notifier.errors import NotReady

INSTALL = "nginx is not installed: `apt-get install nginx-light` or `brew install nginx`"
CERTIFICATE, KEY = "certificate.pem", "key.pem"
"""Files in the server's folder; the certificate is also the authority to trust."""

_STARTS_WITHIN = timedelta(seconds=20)
_ERRORS = "error.log"
# Paths are seen from the server's folder.
_CONFIG = f"""
daemon off;
worker_processes %d;
worker_rlimit_nofile 8192;
pid pid;
error_log {_ERRORS};
events {{ worker_connections 4000; }}
http {{
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    ssl_certificate {CERTIFICATE};
    ssl_certificate_key {KEY};
    %s
}}
"""


class NotInstalledError(Exception):
    """There is no nginx on this machine."""


def find() -> str | None:
    """Where nginx is."""
    path = os.environ.get("PATH", os.defpath)
    return shutil.which("nginx", path=f"{path}:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


@contextmanager
def running(
    folder: Path, http: str, port: int, *, hosts: tuple[str, ...] = (), workers: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx with what is to be in its `http {}`, from when the port takes connections.

    Its certificate is for 127.0.0.1 and the `hosts`. Paths in `http` are seen from the folder.
    Raises NotInstalledError, or NotReady with its log.
    """
    program = find()
    if program is None:
        raise NotInstalledError(INSTALL)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # nginx drops root and must still write its temporary files
    _make_certificate(folder, hosts)
    (folder / "nginx.conf").write_text(_CONFIG % (workers, http))
    with subprocess.Popen([program, "-p", folder, "-c", "nginx.conf", "-e", _ERRORS]) as process:
        try:
            _wait_for(port, process, folder / _ERRORS)
            yield process
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes], errors: Path) -> None:
    give_up_at = time.monotonic() + _STARTS_WITHIN.total_seconds()
    while process.poll() is None and time.monotonic() < give_up_at:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise NotReady(f"nginx does not start: {errors.read_text()}")


def _make_certificate(folder: Path, hosts: tuple[str, ...]) -> None:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a push service for tests")])
    now = datetime.now(UTC)
    names = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        *(x509.DNSName(host) for host in hosts),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / KEY).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

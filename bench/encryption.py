"""Encryption alone: notifier.push.encrypt_all beside a C program that does the same."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from notifier.push import encrypt, encrypt_all, pad

from bench.readers import PLAINTEXT, make_readers
from bench.subjects import Cost

AT_ONCE = 100  # as many as the sender has in flight, and then encrypts at a time
FOLDER = Path(__file__).parent


def build() -> Path:
    """Compile encrypt.c. Raises RuntimeError when there is no compiler or no libcrypto."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the bench needs a C compiler (Debian: apt-get install gcc libssl-dev)")
    program = FOLDER / "build/encrypt"
    program.parent.mkdir(exist_ok=True)
    source = FOLDER / "encrypt.c"
    done = subprocess.run(
        [compiler, "-O2", "-o", str(program), str(source), "-lcrypto"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"encrypt.c does not compile: {done.stderr[-1000:]}")
    return program


def measure_c(program: Path, count: int) -> Cost:
    """What so many messages take the C program."""
    report = _report_of(program, count)
    if report["body_length"] != len(_encrypted()):
        raise RuntimeError("the C program does not make the same kind of body")
    return Cost(count, report["cpu_s"], report["cpu_s"])


def library_of(program: Path) -> str:
    """The version of libcrypto that the C program uses."""
    return str(_report_of(program, 1)["library"])


def measure_ours(count: int) -> Cost:
    """What so many messages take notifier.push.encrypt_all, by the hundred, in this process."""
    padded = pad(PLAINTEXT)
    readers = make_readers("https://push.example", AT_ONCE)
    messages = [(padded, reader.p256dh, reader.auth) for reader in readers]
    encrypt_all(messages)
    started = time.process_time()
    for left in range(count, 0, -AT_ONCE):
        encrypt_all(messages[:left])
    took = time.process_time() - started
    return Cost(count, took, took)


def openssl_speed(seconds: int) -> float | None:
    """ECDH operations per second on P-256 by the openssl program's own account, if there is one."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return None
    done = subprocess.run(
        [openssl, "speed", "-seconds", str(seconds), "ecdhp256"],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def _report_of(program: Path, count: int) -> dict[str, Any]:
    command = [str(program), str(count), str(len(PLAINTEXT))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _encrypted() -> bytes:
    (reader,) = make_readers("https://push.example", 1)
    return encrypt(pad(PLAINTEXT), reader.p256dh, os.urandom(16))

"""What is compared: each subject is a program of its own, run once a round."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sink import Sink

FOLDER = Path(__file__).parent
PLAIN_LOOP = "webpush() in a loop"
SESSION_LOOP = "webpush(), session and key object"
ASYNC = "webpush_async, 100 at a time"
NODE = "node web-push, 100 at a time"
SENDER = "our sender"
CACHED = ", token cached"


class UnexpectedAnswerError(Exception):
    """A message was answered by something else than 201, or a subject failed."""


@dataclass(frozen=True)
class Subject:
    """`messages` are sent in one round, a tenth as many beforehand to warm up."""

    name: str
    command: Sequence[str]
    messages: int
    quick: int

    def measure(self, order: Path, sink: Sink, *, quick: bool) -> dict[str, float]:
        """Run it once: CPU seconds per 1,000 messages, and messages per second."""
        count = self.quick if quick else self.messages
        program, *form = self.command
        runner = ["node"] if program.endswith(".mjs") else [sys.executable, "-m"]
        result = subprocess.run(
            [*runner, program, str(order), str(count), *form],
            cwd=FOLDER.parent,
            env=os.environ | {"NODE_EXTRA_CA_CERTS": str(sink.own_ca_file)},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise UnexpectedAnswerError(f"{self.name} failed: {result.stderr[-2000:]}")
        report: dict[str, Any] = json.loads(result.stdout)
        if report["statuses"] != {"201": count}:
            raise UnexpectedAnswerError(f"{self.name}: {report['statuses']} instead of 201 only")
        return {
            "cpu_s_per_1000": report["cpu_s"] / count * 1000,
            "per_s": count / report["wall_s"],
        }


def subjects() -> list[Subject]:
    """All senders, the slowest first."""
    return [
        Subject(PLAIN_LOOP, ["bench.peers.pywebpush_loop"], 400, 10),
        Subject(
            PLAIN_LOOP + ", all public authorities", ["bench.peers.pywebpush_loop", "public"], 60, 5
        ),
        Subject(PLAIN_LOOP + CACHED, ["bench.peers.pywebpush_loop", "cached"], 400, 10),
        Subject(SESSION_LOOP, ["bench.peers.pywebpush_session"], 1500, 20),
        Subject(SESSION_LOOP + CACHED, ["bench.peers.pywebpush_session", "cached"], 1500, 20),
        Subject(NODE, [str(FOLDER / "peers/web_push.mjs")], 2000, 100),
        Subject(NODE + CACHED, [str(FOLDER / "peers/web_push.mjs"), "cached"], 2000, 100),
        Subject(ASYNC, ["bench.peers.pywebpush_async"], 3000, 100),
        Subject(ASYNC + CACHED, ["bench.peers.pywebpush_async", "cached"], 3000, 100),
        Subject(SENDER, ["bench.peers.our_sender"], 20_000, 300),
    ]


def install_node_peer() -> None:
    """Install node's web-push as locked. Raises RuntimeError when that is not possible."""
    if (FOLDER / "node_modules/web-push/package.json").exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("the bench needs node and npm (Debian: apt-get install nodejs npm)")
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"npm ci failed in {FOLDER.name}/: {done.stderr[-1000:]}")

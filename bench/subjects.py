"""What is compared: each subject is a program of its own, which runs for a round."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What some messages took."""

    messages: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @property
    def cpu_s_per_1000(self) -> float:
        return self.cpu_s / self.messages * 1000

    @property
    def per_s(self) -> float:
        return self.messages / self.wall_s

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.messages + other.messages, self.cpu_s + other.cpu_s, self.wall_s + other.wall_s
        )


@dataclass(frozen=True)
class Subject:
    """A sender; `messages` are measured at each turn."""

    name: str
    command: Sequence[str]
    messages: int
    quick: int

    @contextmanager
    def running(
        self, order: Path, sink: Sink, *, quick: bool = False
    ) -> Iterator[Callable[[], Cost]]:
        """Run its program; what is handed out takes a turn when it is called.

        That raises UnexpectedAnswerError.
        """
        count = self.quick if quick else self.messages
        program, *form = self.command
        runner = ["node"] if program.endswith(".mjs") else [sys.executable, "-m"]
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                [*runner, program, str(order), *form],
                cwd=FOLDER.parent,
                env=os.environ | {"NODE_EXTRA_CA_CERTS": str(sink.own_ca_file)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
            ) as process,
        ):
            assert process.stdin is not None
            assert process.stdout is not None
            turns, reports = process.stdin, process.stdout

            def take_turn() -> Cost:
                with suppress(BrokenPipeError):  # it has ended, and says why
                    turns.write(f"{count}\n")
                line = reports.readline()
                if not line:
                    process.wait()
                    errors.seek(0)
                    raise UnexpectedAnswerError(f"{self.name} failed: {errors.read()[-2000:]}")
                report: dict[str, Any] = json.loads(line)
                if report["statuses"] != {"201": count}:
                    raise UnexpectedAnswerError(
                        f"{self.name}: {report['statuses']} instead of 201 only"
                    )
                return Cost(count, report["cpu_s"], report["wall_s"])

            try:
                yield take_turn
            finally:
                process.kill()


def subjects() -> list[Subject]:
    """All senders, the slowest first."""
    return [
        Subject(PLAIN_LOOP, ["bench.peers.pywebpush_loop"], 70, 10),
        Subject(
            PLAIN_LOOP + ", all public authorities", ["bench.peers.pywebpush_loop", "public"], 10, 5
        ),
        Subject(PLAIN_LOOP + CACHED, ["bench.peers.pywebpush_loop", "cached"], 70, 10),
        Subject(SESSION_LOOP, ["bench.peers.pywebpush_session"], 250, 20),
        Subject(SESSION_LOOP + CACHED, ["bench.peers.pywebpush_session", "cached"], 250, 20),
        Subject(NODE, [str(FOLDER / "peers/web_push.mjs")], 350, 100),
        Subject(NODE + CACHED, [str(FOLDER / "peers/web_push.mjs"), "cached"], 350, 100),
        Subject(ASYNC, ["bench.peers.pywebpush_async"], 500, 100),
        Subject(ASYNC + CACHED, ["bench.peers.pywebpush_async", "cached"], 500, 100),
        our_sender(3_500, quick=300),
    ]


def our_sender(messages: int, *, quick: int = 0) -> Subject:
    """The project's own sender."""
    return Subject(SENDER, ["bench.peers.our_sender"], messages, quick)


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

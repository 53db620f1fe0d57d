"""What a drill is: a fault at a random moment, and what must hold afterwards."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from drills.stage import CHECKPOINT, CONCURRENCY, LATE_ANSWERS, LONG, PROCESSES, Stage

from notifier.rehearsal.deployment import wait_until

SQLITE, POSTGRESQL = "sqlite", "postgresql"
FULL_SIZE = 10_000
FEW = 4
"""The part of the readers that is enough where nothing breaks while they are sent to."""


@dataclass
class Result:
    """What one round came to. `problems` is empty when all that must hold did hold.

    If it is not, `logs` is what the programs have logged meanwhile, but for mere information.
    """

    lost: int = 0
    duplicates: int = 0
    bound: int = 0
    resumed: timedelta | None = None
    limit: timedelta | None = None
    took: timedelta = timedelta()
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list, repr=False)


@dataclass
class Round:
    """One round of a drill: a stage with readers, chance, and the result that builds up.

    Rounds are numbered from 0. Limits in seconds are multiplied by `patience`, for a machine that
    has other work, too.
    """

    stage: Stage
    chance: random.Random
    readers: int
    number: int
    patience: float = 1
    result: Result = field(default_factory=Result)
    alert_id: int = 0
    spare: dict[str, Any] = field(default_factory=dict)

    @property
    def is_full_size(self) -> bool:
        """Whether there are readers for many batches, and time for long outages."""
        return self.readers >= FULL_SIZE

    def begin(self) -> None:
        """Have readers, and publish a breaking article."""
        self.stage.enlist(self.readers)
        self.publish()

    def begin_slowly(
        self,
        least: float,
        most: float,
        *,
        processes: int = PROCESSES,
        faults: Sequence[Mapping[str, Any]] = (LATE_ANSWERS,),
    ) -> None:
        """Publish with late answers, and go on to a random moment as `reach` does.

        Until then, at no time may more have been accepted and not recorded than `bound_for` allows
        if all the processes were killed just then: it takes luck to kill one at its worst moment.
        """
        self.stage.enlist(self.readers)
        self.stage.push.control.set_faults(faults)
        self.publish()
        unrecorded = 0

        def watch() -> None:
            nonlocal unrecorded
            accepted = self.stage.accepted()
            unrecorded = max(unrecorded, accepted - self.stage.recorded(self.alert_id))

        self.reach(least, most, meanwhile=watch)
        self.result.notes.append(f"{unrecorded} unrecorded at most")
        allowed = processes * (CHECKPOINT + CONCURRENCY)
        self.require(unrecorded <= allowed, f"{unrecorded} were sent and not recorded")

    def have_few(self) -> None:
        """Have some of the readers: for what goes wrong before anything is sent."""
        self.readers //= FEW
        self.stage.enlist(self.readers)

    def publish(self) -> None:
        self.alert_id = self.stage.publish()

    def reach(
        self, least: float, most: float, *, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait for a random moment: until a share between these has been accepted."""
        share = self.chance.uniform(least, most)
        self.result.notes.append(f"at {share:.0%}")

        def is_reached() -> bool:
            meanwhile()
            return self.stage.accepted() >= share * self.readers

        wait_until(is_reached, LONG, f"{share:.0%}")

    def require(self, is_right: bool, otherwise: str) -> None:
        if not is_right:
            self.result.problems.append(otherwise)

    def resumes(
        self,
        condition: Callable[[], bool],
        what: str,
        *,
        within: timedelta | None = None,
        since: float | None = None,
    ) -> None:
        """Measure until the condition holds, and require it to in time, if there is a limit.

        `since` is the monotonic time to measure from, if that is not now.
        """
        started = time.monotonic() if since is None else since
        if within is not None:
            within *= self.patience
        wait_until(condition, max(LONG, within or LONG), what)
        took = timedelta(seconds=time.monotonic() - started)
        self.result.resumed, self.result.limit = took, within
        if within is not None:
            self.require(took <= within, f"{what}: {took.total_seconds():.1f} s")

    def bound_for(self, processes: int) -> None:
        """Allow for so many processes being killed while the push service answers late."""
        self.result.bound = processes * (CHECKPOINT + CONCURRENCY)

    def reckon(
        self,
        *,
        uncounted: Iterable[str] = (),
        rejected: int = 0,
        failed: int = 0,
        most_gone: int = 0,
    ) -> dict[str, Any]:
        """Wait for the alert's end and hold everything against what must be.

        `uncounted` are endpoints to which nothing need have been sent; the others are how many
        of the audience must have settled otherwise than as accepted.
        """
        alert = self.stage.wait_for_end(self.alert_id)
        counts, seen = alert["counts"], self.stage.push.control.report()
        exempt = {_token(endpoint) for endpoint in uncounted}
        missing = {_token(endpoint) for endpoint in self.stage.push.control.missing()} - exempt
        self.result.lost = len(missing) - rejected - failed
        self.result.duplicates = seen["duplicates"]
        settled = sum(counts[name] for name in counts if name != "audience")
        self.require(alert["state"] == "finished", f"ended as {alert['state']}")
        self.require(self.result.lost == 0, f"{self.result.lost} lost")
        self.require(counts["audience"] == settled, f"the sum does not hold: {counts}")
        self.require(counts["waiting"] == 0, f"{counts['waiting']} still wait")
        for name, expected in (("rejected", rejected), ("failed", failed)):
            self.require(counts[name] == expected, f"{counts[name]} {name} instead of {expected}")
        self.require(counts["gone"] <= most_gone, f"{counts['gone']} gone")
        self.require(
            self.result.duplicates <= self.result.bound,
            f"{self.result.duplicates} duplicates, {self.result.bound} at most",
        )
        self.hold_against(seen, versions=1)
        return alert

    def hold_against(self, seen: dict[str, Any], *, versions: int) -> None:
        """What must hold of everything that a push service has seen."""
        told = {(version["topic"], version["alert"]) for version in seen["versions"]}
        revisions = {version["revision"] for version in seen["versions"]}
        read = sum(version["duplicates"] for version in seen["versions"])
        self.require(len(seen["topics"]) == 1, f"topics {seen['topics']}")
        self.require(len(told) == len(revisions) == versions, f"versions {seen['versions']}")
        self.require(
            read == seen["duplicates"], f"{seen['duplicates']} duplicates, {read} of them read"
        )
        for name in ("early", "vapid_failures", "body_failures", "stepped_back"):
            self.require(seen[name] == 0, f"{seen[name]} {name}")
        for name in ("reused_keys", "reused_salts"):
            # libcurl itself repeats a request, bytes and all, whose connection was closed on it.
            self.require(seen[name] <= seen["withheld"], f"{seen[name]} {name}")
        self.require(seen["sample"]["failed"] == 0, "messages that could not be decrypted")


@dataclass(frozen=True)
class Drill:
    """A drill: its number in the list, what breaks, and the databases it is about.

    `beside` is how many rounds may run beside one of it, if what it measures depends on that.
    """

    number: str
    title: str
    databases: tuple[str, ...]
    run: Callable[[Round], None]
    beside: int | None = None


ALL: list[Drill] = []


def drill(
    number: str, title: str, *databases: str, beside: int | None = None
) -> Callable[[Callable[[Round], None]], Callable[[Round], None]]:
    """Enter a function in the list of drills; it runs a round. Databases take turns."""

    def enter(run: Callable[[Round], None]) -> Callable[[Round], None]:
        ALL.append(Drill(number, title, databases or (SQLITE, POSTGRESQL), run, beside))
        return run

    return enter


def run_round(
    drill: Drill, stage: Stage, readers: int, seed: str, number: int, patience: float
) -> Result:
    """Run one round; whatever goes wrong is a problem of its result."""
    # So that a round can be repeated.
    chance = random.Random(f"{seed}/{drill.number}/{number}")  # noqa: S311
    round_ = Round(stage, chance, readers, number, patience)
    started, marks = time.monotonic(), stage.log_marks()
    try:
        drill.run(round_)
    except Exception as error:
        round_.result.problems.append(f"{type(error).__name__}: {error}")
    finally:
        stage.push.control.set_faults([])
        stage.other_push.control.set_faults([])
    if round_.result.problems:
        round_.result.logs += _complaints(stage.logged_since(marks))
        stage.forget_enlisted()  # the next round must not find this one's work
    round_.result.took = timedelta(seconds=time.monotonic() - started)
    return round_.result


def _complaints(logs: Mapping[str, str]) -> list[str]:
    return [
        f"{program}: {line}"
        for program, text in logs.items()
        for line in text.splitlines()
        if line and "[info " not in line
    ]


def _token(endpoint: str) -> str:
    return endpoint.rpartition("/")[2]

"""Drills 1 to 3, 10, 17 and 18: processes that are killed, stopped, replaced, or misled."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import psutil
import requests
from drills.drill import POSTGRESQL, Round, drill
from drills.stage import LATE_ANSWERS, LONG, PROCESSES, Stage
from sqlalchemy import func, select

from notifier.ledger import LEASE
from notifier.models import Alert
from notifier.rehearsal.deployment import wait_until

LEASE_AND_A_LITTLE = LEASE + timedelta(seconds=5)
SKEW = timedelta(minutes=10)
AFTERTHOUGHTS = timedelta(seconds=1)
"""After this a process has recorded what it was going to: a checkpoint comes every half second."""


@drill("1", "a worker process is killed (SIGKILL)")
def kill_a_child(round_: Round) -> None:
    round_.begin_slowly(0.2, 0.5)
    stage = round_.stage
    victim = stage.busiest_child()
    victim.kill()
    stage.push.control.set_faults([])
    held = stage.tokens_held()
    round_.bound_for(1)
    round_.resumes(lambda: not held & stage.tokens_held(), "its batches back")
    round_.reckon()


# How soon a worker is up again, and through with what it began, is a matter of the processor.
@drill("2", "the whole worker group is killed", beside=1)
def kill_the_group(round_: Round) -> None:
    round_.begin_slowly(0.2, 0.5)
    stage, worker = round_.stage, round_.stage.programs["worker"]
    killed_at = time.monotonic()
    worker.stop(SIGKILL)
    held = stage.held()
    stage.push.control.set_faults([])
    worker.start()
    round_.bound_for(PROCESSES)
    round_.require(bool(held), "nothing was held")
    round_.resumes(
        lambda: stage.has_gone_on(held),
        "what the dead held",
        within=LEASE_AND_A_LITTLE,
        since=killed_at,
    )
    round_.reckon()


@drill("3", "a worker process sleeps past its lease, and wakes")
def stop_past_the_lease(round_: Round) -> None:
    stage = round_.stage
    marks = stage.log_marks()
    round_.begin_slowly(0.2, 0.5)
    sleeper = stage.busiest_child()
    sleeper.send_signal(SIGSTOP)
    stopped_at = time.monotonic()
    stage.push.control.set_faults([])
    held = stage.tokens_held()
    round_.bound_for(1)
    is_writing = not stage.can_write()
    try:
        wait_until(lambda: time.monotonic() > stopped_at + LEASE.total_seconds(), LONG, "the lease")
        if is_writing:
            _wake_the_writer(round_, sleeper)
            return
        round_.resumes(lambda: not held & stage.tokens_held(), "its batches taken over")
        # Once all is over nobody but the sleeper has a lease to lose, or anything to record.
        stage.wait_for_end(round_.alert_id)
        round_.require("lease_lost" not in _log_of_worker(stage, marks), "another lost its lease")
        before = stage.batches()
    finally:
        sleeper.send_signal(SIGCONT)
    wait_until(lambda: "lease_lost" in _log_of_worker(stage, marks), LONG, "the sleeper finds out")
    time.sleep(AFTERTHOUGHTS.total_seconds())
    round_.require(stage.batches() == before, "the sleeper changed what others had recorded")
    round_.reckon()


def _wake_the_writer(round_: Round, sleeper: psutil.Process) -> None:
    """SQLite has one writer at a time: when that sleeps, all the others pause until it wakes."""
    round_.result.notes.append("asleep while it wrote")
    accepted = round_.stage.accepted_when_quiet()
    sleeper.send_signal(SIGCONT)
    round_.resumes(
        lambda: round_.stage.accepted() > accepted, "sending", within=timedelta(seconds=10)
    )
    round_.reckon()


@drill("10", "web is killed between commit and wake-up")
def kill_before_the_ring(round_: Round) -> None:
    stage, web = round_.stage, round_.stage.programs["web"]
    round_.have_few()
    stage.push.control.begin_wave()
    before = _newest_alert(round_)
    stage.web_relay.go_deaf(new_ones_too=True)  # the ring hangs after the commit
    article = stage.article_id()
    publisher = threading.Thread(target=_publish_in_vain, args=(round_, article))
    publisher.start()
    try:
        wait_until(lambda: _newest_alert(round_) != before, LONG, "the commit")
        time.sleep(round_.chance.uniform(0, 0.3))
        web.stop(SIGKILL)
    finally:
        publisher.join()
        stage.web_relay.hear()
    round_.alert_id = _newest_alert(round_)
    round_.resumes(lambda: stage.accepted() > 0, "sending", within=timedelta(seconds=5))
    web.start()
    wait_until(lambda: _is_up(round_), LONG, "web")
    round_.reckon()


@drill("17", "everything is deployed anew, one program after another (SIGTERM)")
def roll(round_: Round) -> None:
    round_.begin()
    stage = round_.stage
    for least in (0.05, 0.35):
        round_.reach(least, least + 0.25)
        stage.programs["worker"].stop()
        stage.programs["worker"].start()
    for name in ("clock", "web"):
        stage.programs[name].stop()
        stage.programs[name].start()
    wait_until(lambda: _is_up(round_), LONG, "web")
    round_.reckon()


# With SQLite all processes are on one host, and share its clock.
@drill("18", "one worker's wall clock is ten minutes off", POSTGRESQL)
def mislead_a_worker(round_: Round) -> None:
    stage = round_.stage
    stage.enlist(round_.readers)
    off_by = SKEW * round_.chance.choice([1, -1])
    round_.result.notes.append(f"{off_by.total_seconds():+.0f} s")
    environment = {
        "PYTHONPATH": str(Path(__file__).parent / "skewed_clock"),
        "DRILL_WALL_CLOCK_IS_OFF_BY": str(off_by.total_seconds()),
    }
    with stage.another_worker(**environment) as misled:
        before = _processor_time(misled.pid)
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
        throttled = {"status": 429, "share": 0.02, "times": 1, "retry_after": date}
        late = [throttled | LATE_ANSWERS, {"share": 0.98} | LATE_ANSWERS]
        round_.begin_slowly(0.2, 0.4, processes=2 * PROCESSES, faults=late)
        victim = stage.busiest_child()  # so that one clock's leases pass to the other
        victim.kill()
        stage.push.control.set_faults([throttled])
        held = stage.tokens_held()
        round_.bound_for(1)
        round_.resumes(lambda: not held & stage.tokens_held(), "its batches back")
        round_.reckon()
        round_.require(_processor_time(misled.pid) > before + 0.1, "the misled worker was idle")
        round_.require(stage.push.control.report()["by_status"].get("429", 0) > 0, "no date sent")


def _log_of_worker(stage: Stage, marks: dict[str, int]) -> str:
    return stage.logged_since(marks)["worker"]


def _processor_time(pid: int) -> float:
    """Seconds that a process's descendants have spent."""
    below = psutil.Process(pid).children(recursive=True)
    return sum(sum(process.cpu_times()[:2]) for process in below)


def _newest_alert(round_: Round) -> int:
    with round_.stage.db.read() as session:
        return session.scalars(select(func.max(Alert.id))).one() or 0


def _publish_in_vain(round_: Round, article_id: str) -> None:
    try:
        round_.stage.rehearsal.put_article(article_id)
    except requests.RequestException:
        return
    round_.result.problems.append("web answered, though it was killed")


def _is_up(round_: Round) -> bool:
    try:
        return requests.get(f"{round_.stage.settings.base_url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False

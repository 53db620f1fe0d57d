"""Drills 12 to 15: push services that fail, throttle, refuse, or answer in harmful ways."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from drills.drill import Round, drill
from drills.stage import LONG
from sqlalchemy import select

from notifier.models import AlertState, OpenBreaker
from notifier.rehearsal.deployment import wait_until

MOST_BEFORE_THE_BREAKER = 300
FIRST_PROBES = timedelta(seconds=5 + 10 + 20)
SPELL = timedelta(seconds=4)
"""For so long a push service throttles a third of what it is sent, and is held for that."""

MOST_HELD_UP = 1.25
HELD_UP_BY_CHANCE = timedelta(seconds=0.5)
HARM_ENDS_WITHIN = timedelta(seconds=45)
"""Harmful answers go on for a minute if they are let."""

MOST_GROWTH = 30 * 1024**2


@drill("12", "one of two push services answers 503 for a while", beside=0)
def lose_a_push_service(round_: Round) -> None:
    stage = round_.stage
    round_.readers //= 2  # everybody is sent to twice
    stage.enlist_at_both(round_.readers)
    before = _other_p99_alone(round_)
    lasts = round_.chance.uniform(3, 7)  # so that the first probe fails, or does not
    round_.result.notes.append(f"503 for {lasts:.1f} s")
    stage.push.control.set_faults([{"status": 503, "for": lasts}])
    beside = _other_p99(round_)
    round_.reckon()
    seen = stage.other_push.control.report()
    round_.require(seen["duplicates"] == seen["lost"] == 0, "the other lost or doubled")
    # Before and after, as the machine does not always have the same other work.
    alone = max(before, _other_p99_alone(round_))
    round_.result.notes.append(f"the other's p99 {alone:.2f} s alone, {beside:.2f} s beside")
    most = alone * MOST_HELD_UP + HELD_UP_BY_CHANCE.total_seconds() * round_.patience
    round_.require(beside <= most, f"the other push service was held up: {beside:.2f} s")


@drill("13", "429 with Retry-After, in seconds and as a date")
def throttle(round_: Round) -> None:
    stage = round_.stage
    stage.enlist(round_.readers)
    # A few, who are held one by one, or so many that the whole push service is held.
    few = {"share": 0.01, "times": 2, "retry_after": str(round_.chance.randint(1, 4))}
    many = {"share": 0.3, "for": SPELL.total_seconds(), "retry_after": "1"}
    throttled = round_.chance.choice([few, many])
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=8), usegmt=True)
    stage.push.control.set_faults(
        [
            {"status": 429, "share": 0.005, "times": 1, "retry_after": date},
            {"status": 429} | throttled,
        ]
    )
    round_.result.notes.append(f"{throttled['share']:.0%} for {throttled['retry_after']} s")
    round_.publish()
    round_.reckon()
    round_.require(stage.gone() == 0, "subscriptions were deactivated")


@drill("14", "all messages are refused (403), then accepted again")
def refuse(round_: Round) -> None:
    stage = round_.stage
    marks, began_at = stage.log_marks(), time.time()
    round_.begin()
    round_.reach(0.02, 0.5)
    stage.push.control.set_faults([{"status": 403}])
    wait_until(lambda: _breaker_is_open(round_), LONG, "an open breaker")
    processes = _ports(round_)
    stage.push.control.set_faults([{"status": 403, "for": round_.chance.uniform(1, 4)}])
    round_.resumes(lambda: not _breaker_is_open(round_), "the breaker closes", within=FIRST_PROBES)
    round_.reckon()
    processes |= _ports(round_)
    refused = Counter(processes[refusal.port] for refusal in stage.front.refusals(began_at))
    round_.result.notes.append(f"refused {sorted(refused.values())}")
    in_all = stage.push.control.report()["by_status"]["403"]
    round_.require(refused.total() == in_all, f"{in_all} refused, not {refused.total()}")
    for count in refused.values():
        round_.require(count <= MOST_BEFORE_THE_BREAKER, f"{count} were refused to one process")
    round_.require(stage.gone() == 0, "subscriptions were deactivated")
    round_.require("breaker_opened" in stage.logged_since(marks)["worker"], "ops were not told")


@drill("15a", "answers are lost, trickle, have no end, or unpack to very much more")
def harm_the_answers(round_: Round) -> None:
    stage = round_.stage
    # Half of them over HTTP/1.1, half over HTTP/2, where a stream is cut and not the connection.
    if stage.enlist(round_.readers, through=(stage.push.origin, stage.front.unbuffered_origin)):
        round_.publish()
        stage.wait_for_end(round_.alert_id)  # in peace: how much memory is that?
    before = _memory(round_)
    stage.push.control.set_faults(
        [
            {"harm": "dropped", "share": 0.01, "times": 1},
            {"harm": "slow", "share": 6 / round_.readers, "times": 1},
            {"harm": "endless", "share": 0.01},
            {"harm": "compressed", "share": 0.01},
        ]
    )
    grown = 0

    def is_over() -> bool:
        nonlocal grown
        grown = max(grown, *(now - before.get(pid, 0) for pid, now in _memory(round_).items()))
        time.sleep(0.05)
        return bool(stage.rehearsal.alert(round_.alert_id)["state"] == AlertState.FINISHED)

    round_.publish()
    round_.resumes(is_over, "the end", within=HARM_ENDS_WITHIN)
    round_.result.bound = stage.push.control.report()["withheld"]
    round_.result.notes.append(f"{grown / 1024**2:+.1f} MB on {max(before.values()) // 1024**2}")
    round_.reckon()
    round_.require(grown < MOST_GROWTH, f"a worker process grew by {grown // 1024**2} MB")


@drill("15b", "GOAWAY every 1,000 requests, the stream limit of every other connection cut to 1")
def end_and_narrow_connections(round_: Round) -> None:
    stage = round_.stage
    limit = stage.stream_limit
    stage.enlist(round_.readers, through=(limit.origin,))
    cuts, goaways = limit.cuts, limit.goaways
    limit.cut_after = round_.chance.randint(100, 900)
    limit.most_open_after_cut = 0
    round_.publish()
    round_.reckon()
    round_.result.notes.append(f"{limit.goaways - goaways} GOAWAY, {limit.cuts - cuts} limits cut")
    round_.require(limit.cuts > cuts, "no limit was cut")
    if round_.readers >= 10_000:  # else no connection gets as far
        round_.require(limit.goaways > goaways, "no connection was ended")
    most = limit.most_open_after_cut
    round_.require(most <= 1, f"{most} streams were open at once, though only one was allowed")


def _other_p99_alone(round_: Round) -> float:
    """`_other_p99` in peace, as if there were no other push service."""
    stage = round_.stage
    with stage.without_readers_of(stage.front.origin):
        p99 = _other_p99(round_)
        stage.wait_for_end(round_.alert_id)
    return p99


def _other_p99(round_: Round) -> float:
    """Publish, and answer when 99% of the other push service's readers had the alert."""
    stage = round_.stage
    round_.publish()
    other = stage.other_push.control
    wait_until(lambda: other.report()["missing"] == 0, LONG, "the other push service")
    p99: float = other.report()["accepted_within"]["99"]
    return p99


def _breaker_is_open(round_: Round) -> bool:
    with round_.stage.db.read() as session:
        return bool(session.scalars(select(OpenBreaker.push_service)).all())


def _memory(round_: Round) -> dict[int, int]:
    """How much each worker process holds, in bytes."""
    return {child.pid: child.memory_info().rss for child in round_.stage.celery().children()}


def _ports(round_: Round) -> dict[int, int]:
    """Which worker process has which of the ports that are connected to the ordinary front."""
    return {
        connection.laddr.port: child.pid
        for child in round_.stage.celery().children()
        for connection in child.net_connections("tcp")
        if connection.raddr and connection.raddr.port == round_.stage.front.port
    }

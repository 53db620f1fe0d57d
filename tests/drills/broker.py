"""Drills 4 to 6: a broker that dies with everything in it, is away, or falls silent."""

import shutil
import time
from datetime import timedelta
from signal import SIGKILL

import redis
from drills.drill import Round, drill
from drills.stage import LONG
from kombu.exceptions import OperationalError

from notifier.jobs import Job
from notifier.rehearsal.deployment import wait_until

HEARS_WITHIN = timedelta(seconds=60)


@drill("4", "the broker is killed and emptied")
def lose_the_broker(round_: Round) -> None:
    round_.begin()
    stage, broker = round_.stage, round_.stage.programs["broker"]
    round_.reach(0.05, 0.7)
    broker.stop(SIGKILL)
    shutil.rmtree(stage.settings.home / "broker")
    time.sleep(round_.chance.uniform(0, 1))
    broker.start()
    wait_until(lambda: _answers(round_), LONG, "the broker")
    round_.resumes(lambda: _consumes(round_), "the worker consumes", within=timedelta(seconds=10))
    round_.reckon()
    wait_until(lambda: _takes_doorbells(round_), timedelta(seconds=5), "a doorbell")


@drill("5", "the broker is down while an article is published")
def publish_without_broker(round_: Round) -> None:
    stage, broker = round_.stage, round_.stage.programs["broker"]
    round_.have_few()
    broker.stop(SIGKILL)
    round_.publish()  # raises unless the answer is 2xx
    time.sleep(round_.chance.uniform(0, 3))
    round_.require(stage.accepted() == 0, "somebody rang without a broker")
    broker.start()
    wait_until(lambda: _answers(round_), LONG, "the broker")
    round_.resumes(lambda: stage.accepted() > 0, "sending", within=timedelta(seconds=10))
    round_.reckon()


@drill("6", "connections to the broker fall silent (half-open)")
def silence_the_broker(round_: Round) -> None:
    stage = round_.stage
    stage.enlist(round_.readers)
    in_the_middle = round_.chance.choice([True, False])
    if in_the_middle:
        round_.publish()
        round_.reach(0.05, 0.5)
    else:
        time.sleep(round_.chance.uniform(0, 1))
    stage.worker_relay.go_deaf()
    stage.web_relay.go_deaf()
    try:
        if not in_the_middle:
            round_.publish()
            round_.resumes(lambda: stage.accepted() > 0, "sending", within=HEARS_WITHIN)
        else:  # what it has begun it can finish without a broker: does it hear of anything new?
            round_.resumes(lambda: _consumes(round_), "the worker consumes", within=HEARS_WITHIN)
        round_.reckon()
    finally:
        stage.worker_relay.hear()
        stage.web_relay.hear()


def _answers(round_: Round) -> bool:
    try:
        with round_.stage.broker() as broker:
            return bool(broker.ping())
    except redis.RedisError:
        return False


def _consumes(round_: Round) -> bool:
    """Whether the worker takes a message that the drill has put into its queue, busy or not."""
    try:
        return round_.stage.has_a_pulse()
    except OperationalError:
        return False


def _takes_doorbells(round_: Round) -> bool:
    """Whether a worker that has nothing to do takes the drill's own doorbell."""
    with round_.stage.broker() as broker:
        rung = round_.stage.ring()
        time.sleep(0.1)
        return rung and broker.llen(Job.DELIVER.value) == 0

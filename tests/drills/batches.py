"""Drills 16, 19 and 20: poison, a correction that overtakes, and readers who change their minds."""

import math
import time
from datetime import timedelta
from typing import Any

import requests
from drills.drill import Round, drill
from drills.push_services import SPELL
from drills.stage import LONG
from sqlalchemy import select, text, update

from notifier import alerts
from notifier.endpoints import encode_key, endpoint_hash
from notifier.ledger import Ledger
from notifier.models import Alert, AlertKind, Batch, BatchMembers, Subscription
from notifier.rehearsal.deployment import wait_until

POISON = {
    "bad holds": 'UPDATE batches SET holds = \'{"x": "never"}\' WHERE id = :id',
    "no members": "UPDATE batch_members SET subscription_ids = '' WHERE batch_id = :id",
}
NOT_ON_THE_CURVE = b"\4" + bytes(64)
HELD_FOR = timedelta(seconds=8)
CHANGING = 100
ATTEMPTS = 5


@drill("16", "a batch that always crashes, and a row that cannot be encrypted for")
def poison(round_: Round) -> None:
    stage, worker = round_.stage, round_.stage.programs["worker"]
    stage.enlist(round_.readers, afresh=True)
    worker.stop()
    round_.publish()
    ledger = Ledger(stage.db)
    while ledger.plan():  # as the worker would, so that it finds the poison there
        pass
    with stage.db.write() as session:
        batches = list(
            session.scalars(
                select(Batch).where(Batch.alert_id == round_.alert_id).order_by(Batch.id)
            )
        )
        *others, last = batches
        poisoned = round_.chance.choice(others)
        corrupt = round_.chance.choice(session.get_one(BatchMembers, last.id).subscription_ids)
        session.execute(
            update(Subscription).where(Subscription.id == corrupt).values(p256dh=NOT_ON_THE_CURVE)
        )
        kind = round_.chance.choice(sorted(POISON))
        session.execute(text(POISON[kind]), {"id": poisoned.id})
    round_.result.notes.append(kind)
    stage.forget_enlisted()
    worker.start()
    futile = {0}  # as the ledger counts them; the next attempt comes two seconds later

    def has_failed() -> bool:
        with stage.db.read() as session:
            batch = session.get_one(Batch, poisoned.id)
            futile.add(batch.futile_claims)
            return not batch.is_open

    wait_until(has_failed, LONG, "the batch fails")
    round_.require(futile == set(range(ATTEMPTS + 1)), f"attempts {sorted(futile)}")
    round_.reckon(rejected=1, failed=poisoned.size)
    with stage.db.read() as session:
        batch = session.get_one(Batch, poisoned.id)
        round_.require(batch.failed == batch.size, "another batch failed")
        round_.require(bool(batch.last_error), "nothing is shown of why")


@drill("19", "an update is throttled, its correction released")
def correct(round_: Round) -> None:
    stage = round_.stage
    round_.readers //= 2  # three alerts, and a push service that throttles a third is slow
    stage.enlist(round_.readers, all_read=True)
    round_.publish()
    stage.wait_for_end(round_.alert_id)  # so that the correction is for everybody
    with stage.db.read() as session:
        story = session.get_one(Alert, round_.alert_id).story_id
    # A few, who are held one by one, or so many that the whole push service is held.
    few = {"share": 0.02, "times": 1, "retry_after": str(round_.chance.randint(1, 4))}
    many = {"share": 0.3, "for": SPELL.total_seconds(), "retry_after": "1"}
    stage.push.control.set_faults([{"status": 429} | round_.chance.choice([few, many])])
    stage.push.control.begin_wave()
    corrected = _release(round_, story, AlertKind.BREAKING)
    round_.reach(0.15, 0.6)
    round_.alert_id = _release(round_, story, AlertKind.CORRECTION)
    correction = stage.wait_for_end(round_.alert_id)
    first = stage.wait_for_end(corrected)
    time.sleep(round_.chance.uniform(0, 2))  # for what might still come
    seen = stage.push.control.report()
    counts = correction["counts"]
    round_.result.lost = counts["audience"] - counts["accepted"]
    expected = counts["accepted"] + first["counts"]["accepted"]
    round_.result.duplicates = seen["accepted"] - expected
    round_.require(first["state"] == "superseded", f"what it corrects is {first['state']}")
    round_.require(correction["state"] == "finished", f"the correction is {correction['state']}")
    round_.require(counts["audience"] == round_.readers, f"an audience of {counts['audience']}")
    round_.require(round_.result.lost == 0, f"{round_.result.lost} lost")
    round_.require(
        round_.result.duplicates == 0, f"{seen['accepted']} accepted instead of {expected}"
    )
    for counts in (correction["counts"], first["counts"]):
        settled = sum(counts[name] for name in counts if name != "audience")
        round_.require(settled == counts["audience"], f"the sum does not hold: {counts}")
    # Or the update could come after its correction unseen.
    read = seen["sample"]["decrypted"]
    round_.require(read == seen["accepted"], f"{seen['accepted']} accepted, {read} of them read")
    round_.hold_against(seen, versions=2)


@drill("20", "opt-outs, renewals and late 410s while messages go out")
def change_minds(round_: Round) -> None:
    stage = round_.stage
    stage.enlist(round_.readers, afresh=True)
    stage.forget_enlisted()
    chance, control = round_.chance, stage.push.control
    spares = {_behind_front(round_, reader["endpoint"]) for reader in _more_readers(round_)}
    slow = {"delay": 0.2}  # so that there is time to change one's mind
    held = {"status": 429, "times": 1, "retry_after": str(HELD_FOR.seconds)} | slow
    control.set_faults(
        [
            {"status": 410, "share": 0.02, "delay": 2.5},
            # So few that only they are held, and not the whole push service.
            {"share": 0.02} | held,
            {"share": 0.96} | slow,
        ]
    )
    faulty = [
        {_behind_front(round_, url) for url in rule["endpoints"]} for rule in control.faults()[:2]
    ]
    late, throttled = (sorted(endpoints - spares) for endpoints in faulty)
    homes = sorted(spares - faulty[0] - faulty[1])
    with stage.db.read() as session:
        found = session.execute(select(Subscription.endpoint, Subscription.id))
        ids = {row.endpoint: row.id for row in found}
    active = chance.sample(sorted(ids.keys() - faulty[0] - faulty[1]), CHANGING)
    leaving = chance.sample(throttled, min(CHANGING, len(throttled) // 2))
    moving = chance.sample(late, min(CHANGING, len(late) // 2, len(homes)))
    round_.publish()
    published_at = time.monotonic()
    time.sleep(chance.uniform(0, 1))
    renewed_at: dict[str, float] = {}
    in_time: set[str] = set()  # who opted out before anybody read their rows, or again
    home_of = dict(zip(moving, homes, strict=False))
    changes = [*active, *leaving, *home_of]
    chance.shuffle(changes)
    # Batches are begun from the newest reader to the oldest: these are in time however busy it is.
    oldest = {one for kind in (active, moving) for one in sorted(kind, key=ids.__getitem__)[:10]}
    changes.sort(key=lambda endpoint: endpoint not in oldest)
    with requests.Session() as session:
        for endpoint in changes:
            proof = _proof(round_, endpoint)
            if endpoint in home_of:
                home = _subscription(round_, home_of[endpoint])
                _tell(round_, session, "POST", "", {"old": proof, "subscription": home})
                renewed_at[endpoint] = time.time()
            else:
                _tell(round_, session, "DELETE", "", proof)
                if endpoint in active:
                    unread = not _is_begun(round_, ids[endpoint])
                else:  # refused at first, so nothing can have been sent to them until now
                    unread = time.monotonic() < published_at + HELD_FOR.total_seconds()
                if unread:
                    in_time.add(endpoint)
    round_.require(not in_time.isdisjoint(leaving), "none of the throttled left in time")
    alert = round_.reckon(uncounted=[*leaving, *active, *late, *spares], most_gone=len(late))
    missing = {_behind_front(round_, url) for url in control.missing()}
    told = in_time - missing
    round_.require(not told, f"{len(told)} were sent to though they had opted out")
    left = alert["counts"]["left"]
    round_.require(left <= len(leaving) + len(active), f"{left} left")
    if round_.is_full_size:  # else every batch is being sent by now
        round_.require(not in_time.isdisjoint(active), "nobody left before his batch was begun")
    refused = [refusal for refusal in stage.front.refusals(0) if refusal.status == 410]
    renewals = [renewed_at.get(stage.front.origin + refusal.path, math.inf) for refusal in refused]
    after = sum(refusal.at > renewal for refusal, renewal in zip(refused, renewals, strict=True))
    round_.result.notes.append(f"{len(in_time)} left in time, {after} renewed before their 410")
    round_.require(after > 0, "no 410 came after a renewal")
    with stage.db.read() as session:
        gone = set(
            session.scalars(
                select(Subscription.endpoint_hash).where(Subscription.gone_at.is_not(None))
            )
        )
    stayed = {endpoint_hash(url) for url in set(late) - set(moving)}
    round_.require(gone == stayed, "others are gone than those that should be")


def _is_begun(round_: Round, subscription_id: int) -> bool:
    """Whether anybody has claimed the batch that this subscription is in."""
    with round_.stage.db.read() as session:
        begun = session.scalars(
            select(BatchMembers.subscription_ids)
            .join(Batch, Batch.id == BatchMembers.batch_id)
            .where(Batch.alert_id == round_.alert_id, Batch.waiting_at_claim > 0)
        )
        return any(subscription_id in ids for ids in begun)


def _release(round_: Round, story_id: int, kind: AlertKind) -> int:
    """Release a later alert of a story, as the newsroom would."""
    draft = alerts.Draft(
        "This is a rehearsal", f"A {kind}.", "https://news.example.com/rehearsal", kind=kind
    )
    with round_.stage.db.write() as session:
        alert = alerts.release(
            session, draft, validity=timedelta(hours=1), released_by="drill", story_id=story_id
        )
    round_.stage.ring()
    return alert.id


def _behind_front(round_: Round, endpoint: str) -> str:
    """The endpoint as it stands in the database."""
    return round_.stage.front.origin + endpoint.removeprefix(round_.stage.push.origin)


def _more_readers(round_: Round) -> list[dict[str, Any]]:
    """Readers of the push service who have not opted in."""
    api = f"{round_.stage.settings.base_url}/api/v1/config"
    key = requests.get(api, timeout=10).json()["vapid_public_key"]
    readers = list(round_.stage.push.control.add_readers(2 * CHANGING, vapid_public_key=key))
    round_.spare = {_behind_front(round_, reader["endpoint"]): reader for reader in readers}
    return readers


def _subscription(round_: Round, endpoint: str) -> dict[str, Any]:
    return {"endpoint": endpoint, "keys": round_.spare[endpoint]["keys"]}


def _proof(round_: Round, endpoint: str) -> dict[str, str]:
    with round_.stage.db.read() as session:
        row = session.scalars(
            select(Subscription).where(Subscription.endpoint_hash == endpoint_hash(endpoint))
        ).one()
    return {"endpoint": endpoint, "p256dh": encode_key(row.p256dh), "auth": encode_key(row.auth)}


def _tell(
    round_: Round, session: requests.Session, method: str, route: str, body: dict[str, Any]
) -> None:
    url = f"{round_.stage.settings.base_url}/api/v1/subscriptions{route}"
    answer = session.request(method, url, json=body, timeout=30)
    round_.require(answer.ok, f"web answered {answer.status_code} to {method} {route}")

"""The alert's state machine: released, ended early, finished or failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import case, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from notifier import audience, reached, reactions
from notifier.audience import Audience
from notifier.db import now_of
from notifier.errors import Conflict, NotFound
from notifier.models import (
    NOBODY_HOLDS,
    NOW,
    OPEN_STATES,
    Alert,
    AlertKind,
    AlertState,
    Batch,
    Level,
    Story,
)

log = structlog.get_logger()

COUNT_OF_ENDING = {
    AlertState.STOPPED: "stopped",
    AlertState.SUPERSEDED: "superseded",
    AlertState.EXPIRED: "expired",
}
"""How an alert that ends early counts those whom it has not been sent to."""

_EARLIER, _THEIRS = aliased(Alert), aliased(Batch)

EARLIER_IS_SENT = exists().where(
    _EARLIER.story_id == Alert.story_id,
    _EARLIER.revision < Alert.revision,
    _THEIRS.alert_id == _EARLIER.id,
    _THEIRS.is_open,
    _THEIRS.lease_until > NOW,
)
"""The condition that a worker may still be sending an earlier alert of an alert's story."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What an alert says, and to whom; `url` and `image` have passed the LinkPolicy."""

    title: str
    body: str
    url: str
    image: str | None = None
    section_bits: int = 0
    kind: AlertKind = AlertKind.BREAKING
    level: Level = Level.BREAKING

    @property
    def audience(self) -> Audience:
        """Whom it would go to as the first alert of its story."""
        return Audience(self.section_bits, self.level)


def release(
    session: Session,
    draft: Draft,
    *,
    validity: timedelta,
    released_by: str,
    story_id: int | None = None,
    flagged_article_id: str | None = None,
    count_reactions: bool = False,
) -> Alert:
    """Release an alert to everybody who has opted in until now and wants it.

    The caller commits and then rings a worker; a ring that is lost costs seconds only. A later
    alert of a story supersedes the earlier ones in the same transaction; but what takes something
    back goes on until another such takes its place, as its readers may not want what comes later.
    """
    now = now_of(session)
    if story_id is None:
        story = Story(created_at=now)
        session.add(story)
        session.flush()
        story_id = story.id
    else:
        # Releases of one story wait for each other here, so that revisions follow one another.
        session.execute(select(Story.id).where(Story.id == story_id).with_for_update())
    earlier = session.execute(
        select(Alert.id, Alert.revision, Alert.kind).where(Alert.story_id == story_id)
    ).all()
    end = audience.end(session)
    alert = Alert(
        story_id=story_id,
        revision=max((revision for _, revision, _ in earlier), default=0) + 1,
        kind=draft.kind,
        state=AlertState.RELEASED,
        flagged_article_id=flagged_article_id,
        title=draft.title,
        body=draft.body,
        url=draft.url,
        image=draft.image,
        sections=draft.section_bits,
        level=draft.level,
        released_at=now,
        released_by=released_by,
        expires_at=now + validity,
        # Of those whom an earlier alert has reached, the newest may have opted out since.
        plan_below=reached.BEYOND_ALL if draft.kind.corrects else end,
        count_rate=reactions.rate_for(end - 1) if count_reactions else None,
    )
    session.add(alert)
    for alert_id, _, kind in earlier:
        if draft.kind.corrects or not kind.corrects:
            close(session, alert_id, AlertState.SUPERSEDED)
    session.flush()
    log.info("alert_released", alert=alert.id, story=story_id, kind=alert.kind.value)
    return alert


def stop(session: Session, alert_id: int) -> Alert:
    """Send an alert to nobody else. Raises NotFound, and Conflict when it has ended already."""
    if not close(session, alert_id, AlertState.STOPPED):
        alert = get(session, alert_id)
        raise Conflict(f"The alert is already {alert.closing_as or alert.state}.")
    return get(session, alert_id)


def close(session: Session, alert_id: int, state: AlertState) -> bool:
    """Begin to end an alert early, in `state`; answers whether it was still released.

    What no worker holds is settled at once. A worker that holds a batch learns of it at its
    next checkpoint, and a dead worker's batch is settled when its lease has run out. Whoever has
    not been planned yet is planned as settled, after everything that is still to be sent.
    """
    closed = session.execute(
        update(Alert)
        .where(Alert.id == alert_id, Alert.state == AlertState.RELEASED)
        .values(state=AlertState.CLOSING, closing_as=state)
        .returning(Alert.id)
    ).one_or_none()
    if closed is None:
        return False
    settle_unheld(session, alert_id, state)
    end_if_settled(session, alert_id)
    return True


def settle_unheld(session: Session, alert_id: int, state: AlertState) -> None:
    """Settle, as `state` says, everybody waiting in batches of the alert that nobody holds."""
    count = getattr(Batch, COUNT_OF_ENDING[state])
    session.execute(
        update(Batch)
        .where(Batch.alert_id == alert_id, Batch.is_open, NOBODY_HOLDS)
        .values(
            {count: count + Batch.waiting, Batch.waiting: 0, Batch.is_open: False}
            # With a token still there, its holder has died and may have sent more than is known.
            | {Batch.interrupted: or_(Batch.interrupted, Batch.claim_token.is_not(None))}
            | {Batch.claim_token: None, Batch.lease_until: None}
        )
        .execution_options(synchronize_session=False),
        {"now": now_of(session)},
    )


def settle_earlier(session: Session, alert: Alert) -> None:
    """Settle what workers have died with of the earlier alerts of the story, without delay."""
    earlier = select(Alert.id, Alert.closing_as).where(
        Alert.story_id == alert.story_id,
        Alert.revision < alert.revision,
        Alert.state == AlertState.CLOSING,
    )
    for alert_id, closing_as in session.execute(earlier).all():
        if closing_as is not None:
            settle_unheld(session, alert_id, closing_as)
            end_if_settled(session, alert_id)


def end_if_settled(session: Session, alert_id: int) -> bool:
    """Bring an alert into its final state if nobody of its audience is waiting any more."""
    ended = session.execute(
        update(Alert)
        .where(
            Alert.id == alert_id,
            Alert.state.in_(OPEN_STATES),
            Alert.planned_at.is_not(None),
            ~exists().where(Batch.alert_id == alert_id, Batch.is_open),
        )
        .values(
            state=case(
                (Alert.closing_as.is_not(None), Alert.closing_as),
                (Alert.plan_error.is_not(None), AlertState.FAILED),
                else_=AlertState.FINISHED,
            ),
            ended_at=now_of(session),
        )
        .returning(Alert.state)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is not None:
        log.info("alert_ended", alert=alert_id, state=ended.state.value)
    return ended is not None


def get(session: Session, alert_id: int) -> Alert:
    """The alert as the database has it now. Raises NotFound."""
    alert = session.get(Alert, alert_id, populate_existing=True)
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}.")
    return alert


def latest(session: Session, limit: int) -> Sequence[Alert]:
    """The alerts released last."""
    return session.scalars(select(Alert).order_by(Alert.id.desc()).limit(limit)).all()


def with_link(session: Session, url: str, *, within: timedelta) -> Alert | None:
    """The latest alert that leads to a page, if it was released `within` this time until now."""
    since = now_of(session) - within
    query = select(Alert).where(Alert.url == url, Alert.released_at >= since)
    return session.scalars(query.order_by(Alert.id.desc()).limit(1)).one_or_none()


def newest_of_stories(session: Session, limit: int) -> Sequence[Alert]:
    """The newest alert of each of the stories that were alerted last; none that was stopped."""
    later = aliased(Alert)
    superseded = exists().where(later.story_id == Alert.story_id, later.revision > Alert.revision)
    went_on = Alert.closing_as.is_distinct_from(AlertState.STOPPED)
    query = select(Alert).where(~superseded, went_on)
    return session.scalars(query.order_by(Alert.id.desc()).limit(limit)).all()

"""What follows a story's first alert: updates, corrections, a withdrawal; one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from notifier import alerts, audience, reached
from notifier.alerts import Draft
from notifier.errors import Conflict
from notifier.models import Alert, AlertKind, AlertState, Level, Story

CORRECTIONS_ARE_VALID_FOR = timedelta(days=1)
"""At least: a phone that was on when the alert came may be off for the night when it was wrong."""

KINDS = tuple(kind for kind in AlertKind if kind != AlertKind.BREAKING)


class FollowedAlready(Conflict):
    """Something else has followed the alert; `newest_id` is the alert that the story stands at."""

    def __init__(self, newest: Alert) -> None:
        a_kind = "an update" if newest.kind == AlertKind.UPDATE else f"a {newest.kind}"
        super().__init__(
            f"Meanwhile {newest.released_by} has sent {a_kind} of this story, alert {newest.id}: "
            f"“{newest.title}”. Only a story's newest alert can be followed up."
        )
        self.newest_id = newest.id


def draft_after(alert: Alert, kind: AlertKind, *, title: str, body: str, url: str) -> Draft:
    """The draft of what follows an alert; `url` has passed the LinkPolicy.

    An update goes to the same sections and keeps the picture. One that ends an alert in
    mid-flight takes its place: it goes to everybody whom that was for, or those whom it has not
    reached would hear of nothing. What takes something back it does not end. Raises Conflict unless
    `may_follow`.
    """
    if not may_follow(alert, kind):
        raise Conflict("The story has been withdrawn already.")
    takes_its_place = alert.state == AlertState.RELEASED and not alert.kind.corrects
    is_optional = kind == AlertKind.UPDATE and not takes_its_place
    return Draft(
        title=title,
        body=body,
        url=url,
        kind=kind,
        section_bits=alert.sections,
        image=alert.image if kind == AlertKind.UPDATE else None,
        level=Level.UPDATES if is_optional else Level(alert.level),
    )


def may_follow(alert: Alert, kind: AlertKind) -> bool:
    """Whether that kind makes sense after an alert: what is withdrawn cannot be withdrawn again."""
    return not AlertKind.WITHDRAWAL == kind == alert.kind


def check_newest(session: Session, alert: Alert) -> None:
    """Raises FollowedAlready when the story has gone on since the alert."""
    *_, newest = of_story(session, alert.story_id)
    if newest.id != alert.id:
        raise FollowedAlready(newest)


def release(
    session: Session,
    after: Alert,
    draft: Draft,
    *,
    validity: timedelta,
    released_by: str,
    count_reactions: bool = False,
) -> tuple[Alert, bool]:
    """Release what follows an alert, and say whether this very call did.

    An alert is followed by one: whoever sends the same words again is answered with what they
    became. Of several at the same moment one wins. The caller commits and then rings a worker.
    Raises FollowedAlready when something else came first.
    """
    # Whoever else follows it up waits here until the commit.
    session.execute(select(Story.id).where(Story.id == after.story_id).with_for_update())
    *_, newest = story = of_story(session, after.story_id)
    if newest.id == after.id:
        released = alerts.release(
            session,
            draft,
            validity=validity_of(draft, validity),
            released_by=released_by,
            story_id=after.story_id,
            count_reactions=count_reactions,
        )
        return released, True
    follower = next(alert for alert in story if alert.revision > after.revision)
    if _says_the_same(follower, draft):
        return follower, False
    raise FollowedAlready(newest)


def validity_of(draft: Draft, validity: timedelta) -> timedelta:
    """How long it may be delivered, where an ordinary alert may for `validity`."""
    return max(validity, CORRECTIONS_ARE_VALID_FOR) if draft.kind.corrects else validity


def of_story(session: Session, story_id: int) -> Sequence[Alert]:
    """The alerts of a story, the newest last."""
    query = select(Alert).where(Alert.story_id == story_id).order_by(Alert.revision)
    return session.scalars(query).all()


def audience_size(session: Session, draft: Draft, story_id: int) -> int:
    """How many it would go to now: of an update exactly, of the others at most."""
    if draft.kind.corrects:
        return reached.size(session, story_id)
    return audience.size(session, replace(draft.audience, story_id=story_id))


def _says_the_same(alert: Alert, draft: Draft) -> bool:
    said = (alert.kind, alert.title, alert.body, alert.url)
    return said == (draft.kind, draft.title, draft.body, draft.url)

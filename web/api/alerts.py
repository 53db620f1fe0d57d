"""How an alert is getting on, what follows it, and stopping it, for machines."""

from flask import g
from sqlalchemy.orm import Session

from notifier import alerts, follow_ups, reports
from notifier.jobs import Job
from notifier.models import Alert, AlertKind, AlertState
from notifier.tokens import Scope
from web.api import schemas
from web.api.operation import Answer, operation
from web.api.routes import blueprint
from web.services import services

_LARGEST_ID = 2**63 - 1
ALERT = f"/alerts/<int(min=1, max={_LARGEST_ID}):alert_id>"
PARAMETERS = {"alert_id": {"type": "integer", "minimum": 1, "maximum": _LARGEST_ID}}
_UNKNOWN = {404: "There is no such alert."}


@blueprint.get(ALERT)
@operation(
    "How an alert is getting on",
    tag="Alerts",
    scope=Scope.ARTICLES_WRITE,
    parameters=PARAMETERS,
    answers={200: ("Its state and counts as of now.", schemas.AlertAnswer)},
    problems=_UNKNOWN,
)
def get_alert(alert_id: int) -> Answer:
    """`seconds_to` says how long it took until 50, 90 and 99 per cent of the audience had been
    accepted by their push services; null until then."""
    with services().db.read() as session:
        return _answer(session, alerts.get(session, alert_id)), 200


@blueprint.post(f"{ALERT}/follow-ups")
@operation(
    "Send an update, a correction or a withdrawal",
    tag="Alerts",
    body=schemas.FollowUpBody,
    scope=Scope.ARTICLES_WRITE,
    parameters=PARAMETERS,
    answers={
        201: ("It is released, and ends the earlier alert as said above.", schemas.AlertAnswer),
        200: ("The same words had been sent already; this is their alert.", schemas.AlertAnswer),
    },
    problems=_UNKNOWN
    | {409: "Something else has followed the alert already, or it is withdrawn already."},
)
def follow_up_alert(alert_id: int, body: schemas.FollowUpBody) -> Answer:
    """Follows up the newest alert of a story; whoever still waits for that one does not get it
    any more, unless it is a correction or withdrawal and this an update. Repeating a request is
    harmless: the same words after the same alert are released once. A 409 names what was sent
    meanwhile, and `newest` of the alert says which alert a follow-up can be for now."""
    with services().db.write() as session:
        after = alerts.get(session, alert_id)
        draft = follow_ups.draft_after(
            after,
            AlertKind(body.kind),
            title=body.title,
            body=body.body,
            url=after.url if body.url is None else services().links.check(body.url),
        )
        alert, released = follow_ups.release(
            session,
            after,
            draft,
            validity=services().settings.alert_validity,
            released_by=g.caller,
            count_reactions=services().settings.count_reactions,
        )
        answer = _answer(session, alert)
    if released:
        services().queue.ring(Job.DELIVER)
    return answer, 201 if released else 200


@blueprint.post(f"{ALERT}/stop")
@operation(
    "Stop an alert",
    tag="Alerts",
    scope=Scope.ARTICLES_WRITE,
    parameters=PARAMETERS,
    answers={200: ("It is stopped; `accepted` readers have it already.", schemas.AlertAnswer)},
    problems=_UNKNOWN | {409: "The alert has ended otherwise: there is nothing left to stop."},
)
def stop_alert(alert_id: int) -> Answer:
    """Sends it to nobody else. What is on its way this second may still add a few, and whoever was
    not planned yet is still to be counted: the state is `closing` until that is known. Stopping
    twice is harmless."""
    with services().db.write() as session:
        alert = alerts.get(session, alert_id)
        if alert.closing_as != AlertState.STOPPED:
            alert = alerts.stop(session, alert_id)
        return _answer(session, alert), 200


def _answer(session: Session, alert: Alert) -> schemas.AlertAnswer:
    *_, newest = follow_ups.of_story(session, alert.story_id)
    return schemas.AlertAnswer.of(alert, newest, reports.progress(session, alert))

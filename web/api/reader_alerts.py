"""Alerts as readers' browsers know them: which were sent lately, and what became of them."""

from flask import Response, request

from notifier import alerts
from notifier.errors import NotFound
from notifier.models import Reaction
from web.api import reader_schemas as schemas
from web.api.alerts import ALERT, PARAMETERS
from web.api.operation import CHANGE_RATE, OF_PAGES, Answer, cacheable, operation
from web.api.routes import blueprint
from web.services import services

_TAG = "Alerts"
_RECENT = 20

_REACTION_RATE = "6000 per minute"
"""Of its own, and high: all of a campus may lie behind one address. See `reactions.Tally`."""

_COUNTED = {204: ("Counted.", None)}
_NOT_COUNTED = OF_PAGES | {404: "There is no such alert, or its reactions are not counted."}


@blueprint.get("/alerts/recent")
@operation(
    "What was sent lately",
    tag=_TAG,
    answers={200: (f"The newest first, {_RECENT} at most.", schemas.RecentAnswer)},
    from_pages=True,
    rate=CHANGE_RATE,
)
def recent_alerts() -> Response:
    """Of each story only the newest alert, so that nothing is repeated that was corrected or
    withdrawn. An alert that was stopped is not among them."""
    language = services().settings.publication_language
    with services().db.read() as session:
        newest = alerts.newest_of_stories(session, _RECENT)
        shown = [schemas.RecentAlert.of(alert, language) for alert in newest]
    return cacheable(schemas.RecentAnswer(alerts=shown))


@blueprint.post(f"{ALERT}/shown")
@operation(
    "Report that a notification was shown",
    tag=_TAG,
    parameters=PARAMETERS,
    answers=_COUNTED,
    problems=_NOT_COUNTED,
    from_pages=True,
    rate=_REACTION_RATE,
)
def report_shown(alert_id: int) -> Answer:
    """Without a body, so without a preflight. Counted by browser family; nothing else is kept.
    A notification says in `data.count` which share of the browsers is to report."""
    return _count(alert_id, Reaction.SHOWN)


@blueprint.post(f"{ALERT}/clicked")
@operation(
    "Report that a notification was opened",
    tag=_TAG,
    parameters=PARAMETERS,
    answers=_COUNTED,
    problems=_NOT_COUNTED,
    from_pages=True,
    rate=_REACTION_RATE,
)
def report_clicked(alert_id: int) -> Answer:
    """As with `shown`."""
    return _count(alert_id, Reaction.CLICKED)


def _count(alert_id: int, reaction: Reaction) -> Answer:
    if not services().settings.count_reactions:
        raise NotFound("Reactions are not counted here.")
    services().reactions.record(alert_id, reaction, request.user_agent.string)
    return None, 204

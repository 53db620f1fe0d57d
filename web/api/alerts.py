"""How an alert is getting on, for machines."""

from notifier import alerts, reports
from notifier.tokens import Scope
from web.api import schemas
from web.api.operation import Answer, operation
from web.api.routes import blueprint
from web.services import services

_LARGEST_ID = 2**63 - 1


@blueprint.get(f"/alerts/<int(min=1, max={_LARGEST_ID}):alert_id>")
@operation(
    "How an alert is getting on",
    tag="Alerts",
    scope=Scope.ARTICLES_WRITE,
    parameters={"alert_id": {"type": "integer", "minimum": 1, "maximum": _LARGEST_ID}},
    answers={200: ("Its state and counts as of now.", schemas.AlertAnswer)},
    problems={404: "There is no such alert."},
)
def get_alert(alert_id: int) -> Answer:
    """`seconds_to` says how long it took until 50, 90 and 99 per cent of the audience had been
    accepted by their push services; null until then."""
    with services().db.read() as session:
        alert = alerts.get(session, alert_id)
        return schemas.AlertAnswer.of(alert, reports.progress(session, alert)), 200

"""What ops and their monitoring ask: is this process up, and are those that it needs?"""

import structlog
from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from notifier import heartbeats, keys
from notifier.errors import NotReady
from notifier.models import Program
from web.services import services

blueprint = Blueprint("ops", __name__)

log = structlog.get_logger(__name__)


@blueprint.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 when opt-ins and articles can be taken, else 503.

    Says too whether worker and clock are alive, without which alerts wait. That is not this
    process's health: 503 would take readers and editors away from a site that can serve them.
    """
    try:
        with services().db.read() as session:
            keys.newest_public_key(session)
            others = {
                program.value: "alive" if heartbeats.alive(session, program) else "silent"
                for program in Program
            }
    except (SQLAlchemyError, NotReady) as error:
        log.error("health_failed", error=type(error).__name__)
        return jsonify(status="unavailable", database="unreachable or not set up"), 503
    return jsonify(status="ok", database="ok", **others), 200

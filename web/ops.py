"""What ops and their monitoring ask: is this process up, and does it reach its database?"""

import structlog
from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from notifier import keys
from notifier.errors import NotReady
from web.services import services

blueprint = Blueprint("ops", __name__)

log = structlog.get_logger(__name__)


@blueprint.get("/healthz")
def healthz() -> tuple[Response, int]:
    """200 when opt-ins and articles can be taken, else 503."""
    try:
        with services().db.read() as session:
            keys.newest_public_key(session)
    except (SQLAlchemyError, NotReady) as error:
        log.error("health_failed", error=type(error).__name__)
        return jsonify(status="unavailable", database="unreachable or not set up"), 503
    return jsonify(status="ok", database="ok"), 200

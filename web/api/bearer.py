"""Bearer tokens of machines (RFC 6750)."""

from typing import NoReturn

import structlog
from flask import g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from notifier import tokens
from notifier.tokens import Scope
from web.security import client_key, limiter
from web.services import services

REFUSAL_RATE = "60 per minute"

log = structlog.get_logger(__name__)


def require(scope: Scope) -> None:
    """Let only the holder of a valid token of that scope pass, and note in `g.caller` who it is.

    Answers 401 otherwise, and 429 to an address that keeps trying; a valid token is never
    limited, so that another program behind the same address cannot hold up the news.
    """
    given = request.authorization
    token = given.token if given is not None and given.type == "bearer" else None
    if not token:
        raise Unauthorized("Send a token: Authorization: Bearer …", www_authenticate=_challenge())
    with services().db.write() as session:
        found = tokens.authenticate(session, token, scope)
        caller = None if found is None else found.name
    if caller is None:
        _refuse(scope)
    g.caller = caller


@limiter.shared_limit(REFUSAL_RATE, scope="wrong-token")
def _refuse(scope: Scope) -> NoReturn:
    log.warning("token_refused", scope=scope.value, client=client_key())
    raise Unauthorized(
        f"This token is not valid, or not for {scope.value}.",
        www_authenticate=_challenge(error="invalid_token", scope=scope.value),
    )


def _challenge(**values: str | None) -> WWWAuthenticate:
    return WWWAuthenticate("bearer", {"realm": "notifier", **values})

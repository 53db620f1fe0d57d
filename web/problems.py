"""Errors as their readers need them: RFC 9457 problem documents for programs, pages for people."""

import json
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

import structlog
from flask import Flask, Response, make_response, render_template, request
from flask_limiter import RateLimitExceeded
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from notifier.errors import Conflict, InvalidInput, NotFound, NotReady

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER = timedelta(seconds=5)

_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not take this method.",
    413: "The body is larger than 64 KiB.",
    415: "Send the body as application/json.",
    500: "Something went wrong on our side. It has been logged.",
    503: "The database cannot be reached. Nothing was recorded and nothing was sent; try again.",
}

FieldError = dict[str, str]

log = structlog.get_logger(__name__)


def answer_errors(app: Flask) -> None:
    """Turn every error of the app into an answer that says what is wrong."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RateLimitExceeded, _too_many)
    app.register_error_handler(ValidationError, _malformed)
    app.register_error_handler(InvalidInput, _invalid)
    app.register_error_handler(NotFound, lambda error: answer(404, str(error)))
    app.register_error_handler(Conflict, lambda error: answer(409, str(error)))
    app.register_error_handler(NotReady, _not_ready)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(kind, _database_down)


def answer(
    status: int,
    detail: str | None = None,
    *,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """A problem document under /api, and a page elsewhere.

    `errors` says `field` and `message` of every value that is wrong.
    """
    title = HTTPStatus(status).phrase
    detail = detail or _DETAILS.get(status, title)
    if request.path.startswith("/api/"):
        problem: dict[str, object] = {"title": title, "status": status, "detail": detail}
        if errors:
            problem["errors"] = list(errors)
        response = Response(json.dumps(problem), status, content_type=PROBLEM_TYPE)
    else:
        page = render_template("error.html", status=status, title=title, detail=detail)
        response = make_response(page, status)
    response.headers.update(headers or {})
    return response


def _http(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:  # redirects
        return make_response(error.get_response())
    default = error.description == type(error).description
    headers = {
        name: value
        for name, value in error.get_headers()
        if name in ("Allow", "WWW-Authenticate", "Retry-After")
    }
    return answer(error.code, None if default else error.description, headers=headers)


def _too_many(error: RateLimitExceeded) -> Response:
    seconds = error.limit.limit.get_expiry()
    return answer(
        429,
        f"Too many requests from this address: {error.limit.limit} are accepted.",
        headers={"Retry-After": str(seconds)},
    )


def _malformed(error: ValidationError) -> Response:
    """What pydantic found: 400 for a body that is no JSON, 422 for values that are wrong."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return answer(400, f"The body is not valid JSON: {_reason(found[0]['msg'])}.")
    return answer(
        422,
        "The request is not acceptable; `errors` says why.",
        errors=[
            {"field": ".".join(map(str, one["loc"])), "message": _sentence(one["msg"])}
            for one in found
        ],
    )


def _invalid(error: InvalidInput) -> Response:
    errors = [{"field": error.field, "message": str(error)}] if error.field else []
    return answer(422, str(error), errors=errors)


def _not_ready(error: NotReady) -> Response:
    log.error("not_ready", reason=str(error))
    return answer(503, "This service is not set up yet.", headers=_retry_after())


def _database_down(error: DBAPIError | PoolTimeout) -> Response:
    # The driver's own words; SQLAlchemy's would add the statement.
    reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    log.error("database_unavailable", error=type(error).__name__, reason=reason.strip())
    return answer(503, headers=_retry_after())


def _retry_after() -> dict[str, str]:
    return {"Retry-After": str(int(RETRY_AFTER.total_seconds()))}


def _reason(message: str) -> str:
    return message.removeprefix("Invalid JSON: ").rstrip(".")


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message if message.endswith((".", "!", "?")) else f"{message}."

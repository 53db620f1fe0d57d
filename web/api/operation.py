"""An operation of the API: what it takes, what it answers, and who may call it, said once.

The same declaration reads the request, answers it, and is written into the OpenAPI document, so
that the three cannot disagree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Response, abort, current_app, request
from pydantic import BaseModel

from notifier.tokens import Scope
from web.api import bearer
from web.security import limiter
from web.services import services

JSON = "application/json"
CHANGE_RATE = "600 per minute"
CACHES_KEEP_FOR = timedelta(minutes=1)

Answer = tuple[BaseModel | None, int]
View = Callable[..., Answer | Response]

_OF_BODIES = {
    400: "The body is not JSON.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not declared as `application/json`.",
    422: "A value is not acceptable; `errors` names it.",
}
_OF_TOKENS = {401: "The token is missing, wrong or revoked."}
OF_PAGES = {403: "The page that calls does not lie on one of `ALLOWED_ORIGINS`."}
_OF_RATES = {429: "Too many requests from this address; see `Retry-After`."}
_OF_ALL = {
    500: "A fault of the service.",
    503: "The database cannot be reached. Nothing was recorded or sent; see `Retry-After`.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """See `operation`. `answers` says for each status what it means and which model it has."""

    summary: str
    answers: Mapping[int, tuple[str, type[BaseModel] | None]]
    description: str
    tag: str
    body: type[BaseModel] | None = None
    scope: Scope | None = None
    from_pages: bool = False
    limited: bool = False
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    own_problems: Mapping[int, str] = field(default_factory=dict)

    @property
    def problems(self) -> dict[int, str]:
        """Every status that is answered with a problem document, and its meaning."""
        found = dict(_OF_ALL)
        if self.body is not None:
            found |= _OF_BODIES
        if self.scope is not None:
            found |= _OF_TOKENS | _OF_RATES
        if self.limited:
            found |= _OF_RATES
        if self.from_pages and self.body is not None:
            found |= OF_PAGES
        return found | dict(self.own_problems)


def operation(
    summary: str,
    *,
    tag: str,
    answers: Mapping[int, tuple[str, type[BaseModel] | None]],
    body: type[BaseModel] | None = None,
    scope: Scope | None = None,
    from_pages: bool = False,
    rate: str | Callable[[], str] | None = None,
    parameters: Mapping[str, dict[str, Any]] | None = None,
    problems: Mapping[int, str] | None = None,
) -> Callable[[View], Callable[..., Response]]:
    """Declare a view. Its docstring is the description that callers read.

    `body` is read and given to the view as `body`; `scope` asks for a token that has it; `rate`
    limits each client address; `from_pages` lets scripts of the publication's pages call.
    """

    def declare(view: View) -> Callable[..., Response]:
        declared = Operation(
            summary=summary,
            answers=answers,
            description=" ".join((view.__doc__ or "").split()),
            tag=tag,
            body=body,
            scope=scope,
            from_pages=from_pages,
            limited=rate is not None,
            parameters=parameters or {},
            own_problems=problems or {},
        )

        @wraps(view)
        def answer(**arguments: Any) -> Response:
            if scope is not None:
                bearer.require(scope)
            if body is not None:
                arguments["body"] = _read(body)
            return _response(view(**arguments))

        answer.operation = declared  # type: ignore[attr-defined]
        return answer if rate is None else limiter.limit(rate)(answer)

    return declare


def cacheable(model: BaseModel) -> Response:
    """The answer of a view that says the same to everybody: a cache in front may keep it."""
    response = Response(model.model_dump_json(), content_type=JSON)
    response.cache_control.public = True
    response.cache_control.max_age = int(CACHES_KEEP_FOR.total_seconds())
    return response


def operation_of(endpoint: str) -> Operation | None:
    """The declaration behind a Flask endpoint, if it is one of the API's."""
    found: Operation | None = getattr(current_app.view_functions.get(endpoint), "operation", None)
    return found


def _read(model: type[BaseModel]) -> BaseModel:
    """The body, checked. Aborts with 413 and 415, and raises pydantic's ValidationError."""
    raw = request.get_data(cache=False)
    if request.content_length is None:
        # A chunked body is cut off at the limit without a word; reading on gives the 413.
        request.stream.read(1)
    if request.mimetype != JSON:
        abort(415)
    return model.model_validate_json(raw, context=services().endpoints)


def _response(answered: Answer | Response) -> Response:
    if isinstance(answered, Response):
        return answered
    model, status = answered
    text = "" if model is None else model.model_dump_json()
    return Response(text, status, content_type=JSON if text else None)

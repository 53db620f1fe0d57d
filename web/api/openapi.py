"""The OpenAPI document, made from the declarations of the views, and a page that shows it."""

import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from flask import Response, current_app, render_template
from markupsafe import Markup, escape
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from notifier.tokens import Scope
from web.api import schemas
from web.api.operation import JSON, Operation, operation_of
from web.api.routes import blueprint
from web.problems import PROBLEM_TYPE
from web.security import MOST_BYTES
from web.services import services

_PREFIX = "/api/v1"
_REF = "#/components/schemas/{model}"
_VARIABLE = re.compile(r"<(?:[^:<>]+:)?(\w+)>")
_CODE = re.compile(r"`([^`]+)`")
_TAGS = ("Subscriptions", "Articles", "Alerts")  # in the order in which a newcomer reads them
_RETRIED_LATER = (429, 503)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The document, for programs."""
    return Response(json.dumps(document(), indent=1), content_type=JSON)


@blueprint.get("/docs")
def docs() -> str:
    """The document, for people: no script, nothing loaded from elsewhere."""
    return render_template(
        "api/docs.html",
        api=document(),
        publication=services().settings.publication_name,
    )


@blueprint.app_template_filter("prose")
def prose(text: str) -> Markup:
    """Plain text of the document, with what stands between backticks set as code."""
    escaped = str(escape(text))  # as Markup it would escape what is put in
    return Markup(_CODE.sub(r"<code>\1</code>", escaped))  # noqa: S704 (escaped before)


def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of every declared operation."""
    found = [
        (rule, declared)
        for rule in current_app.url_map.iter_rules()
        if (declared := operation_of(rule.endpoint)) is not None
    ]
    found.sort(key=lambda one: _TAGS.index(one[1].tag))
    paths: dict[str, dict[str, Any]] = {}
    for rule, declared in found:
        path = _VARIABLE.sub(r"{\1}", rule.rule.removeprefix(_PREFIX))
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(path, {})[method.lower()] = _operation(rule, declared)
    settings = services().settings
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{settings.publication_name}: breaking-news alerts",
            "version": version("newsroom-notifier"),
            "description": (
                "Readers opt in and out, a CMS publishes articles, and an article that is flagged "
                "as breaking becomes one alert. Errors are problem documents (RFC 9457). "
                f"Bodies are JSON of at most {MOST_BYTES // 1024} KiB."
            ),
        },
        "servers": [{"url": f"{settings.base_url}{_PREFIX}"}],
        "tags": [{"name": name} for name in _TAGS],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `notifier token create --scope "
                    f"{Scope.ARTICLES_WRITE}`.",
                }
            },
            "schemas": _schemas(declared for _, declared in found),
        },
    }


def _operation(rule: Rule, declared: Operation) -> dict[str, Any]:
    answers = {str(status): _answer(*means) for status, means in declared.answers.items()}
    problems = {str(status): _problem(status, why) for status, why in declared.problems.items()}
    described: dict[str, Any] = {
        "operationId": rule.endpoint.rpartition(".")[2],
        "summary": declared.summary,
        "description": declared.description,
        "tags": [declared.tag],
        "responses": answers | dict(sorted(problems.items())),
    }
    if declared.parameters:
        described["parameters"] = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": schema.get("description", ""),
                "schema": {key: value for key, value in schema.items() if key != "description"},
            }
            for name, schema in declared.parameters.items()
        ]
    if declared.body is not None:
        content = {JSON: {"schema": _ref(declared.body)}}
        described["requestBody"] = {"required": True, "content": content}
    if declared.scope is not None:
        described["security"] = [{"token": []}]
    return described


def _answer(meaning: str, model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:
        return {"description": meaning}
    return {"description": meaning, "content": {JSON: {"schema": _ref(model)}}}


def _problem(status: int, meaning: str) -> dict[str, Any]:
    described = _answer(meaning, None)
    described["content"] = {PROBLEM_TYPE: {"schema": _ref(schemas.Problem)}}
    if status in _RETRIED_LATER:
        described["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    if status == 401:
        described["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return described


def _schemas(declared: Iterable[Operation]) -> dict[str, Any]:
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {
        (schemas.Problem, "serialization"): None
    }
    for one in declared:
        if one.body is not None:
            models[one.body, "validation"] = None
        for _, model in one.answers.values():
            if model is not None:
                models[model, "serialization"] = None
    _, together = models_json_schema(list(models), ref_template=_REF)
    found: dict[str, Any] = together["$defs"]
    return found


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}

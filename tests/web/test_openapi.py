"""The API's document: complete, true of every answer, and shown on a page."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from notifier.config import Settings

Maker = Callable[..., dict[str, Any]]

GENEROUS = {"opt_in_rate": "100000 per minute"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_the_document_names_itself_and_every_operation(client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json

    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert document["servers"] == [{"url": "http://localhost:8000/api/v1"}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    operations = {path: set(methods) for path, methods in document["paths"].items()}
    assert operations == {
        "/config": {"get"},
        "/subscriptions": {"post", "patch", "delete"},
        "/subscriptions/show": {"post"},
        "/subscriptions/test": {"post"},
        "/articles/{article_id}": {"put"},
        "/alerts/{alert_id}": {"get"},
        "/alerts/{alert_id}/clicked": {"post"},
        "/alerts/{alert_id}/follow-ups": {"post"},
        "/alerts/{alert_id}/shown": {"post"},
        "/alerts/{alert_id}/stop": {"post"},
        "/alerts/recent": {"get"},
    }
    protected = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if operation.get("security")
    }
    of_alerts = {f"/alerts/{{alert_id}}{action}" for action in ("", "/follow-ups", "/stop")}
    assert protected == {"/articles/{article_id}", *of_alerts}


def test_every_view_of_the_api_is_declared(app: Flask, client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").json
    declared = {one["operationId"] for path in document["paths"].values() for one in path.values()}

    views = {
        rule.endpoint.removeprefix("api.")
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("api.")
    }

    assert views - declared == {"openapi", "docs"}


def test_the_page_shows_every_operation_and_loads_nothing_from_elsewhere(
    client: FlaskClient,
) -> None:
    document = client.get("/api/v1/openapi.json").json
    answer = client.get("/api/v1/docs")

    assert answer.status_code == 200
    for path, methods in document["paths"].items():
        assert path in answer.text
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in answer.text
            assert operation["summary"] in answer.text
    assert "<code>Retry-After</code>" in answer.text
    assert "&lt;code" not in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    sheet = answer.text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert sheet.startswith("/static/")
    with client.get(sheet) as found:
        assert found.status_code == 200


def test_what_an_operator_calls_the_publication_is_text_on_the_page(
    settings: Settings, make_app: Callable[[Settings], Flask]
) -> None:
    named = settings.model_copy(update={"publication_name": "<script>`<b>`</script>"})
    page = make_app(named).test_client().get("/api/v1/docs").text

    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>" not in page


def test_no_request_gets_an_answer_that_the_document_does_not_know(
    settings: Settings,
    bearer: dict[str, str],
    push_subscription: Maker,
    make_app: Callable[[Settings], Flask],
) -> None:
    app = make_app(settings.model_copy(update=GENEROUS))
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    seen: Counter[tuple[str, int]] = Counter()

    def check(case: schemathesis.Case) -> None:
        answer = case.call(headers=bearer)
        seen[case.operation.label, answer.status_code] += 1
        # A schema cannot say which hosts are push services or which bytes a point on a curve.
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    def with_real_keys(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and "subscription" in case.body:
            case.body["subscription"] = push_subscription()
        check(case)

    for result in schema.get_all_operations():
        operation = result.ok()
        modes = [(schemathesis.GenerationMode.POSITIVE, check)]
        nothing_to_get_wrong = operation.label in ("GET /config", "GET /alerts/recent")
        if not nothing_to_get_wrong:
            modes.append((schemathesis.GenerationMode.NEGATIVE, check))
        if operation.label == "POST /subscriptions":
            modes.append((schemathesis.GenerationMode.POSITIVE, with_real_keys))
        for mode, examine in modes:
            bounded = hypothesis_settings(
                max_examples=15,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            bounded(given(case=operation.as_strategy(generation_mode=mode))(examine))()

    assert not [status for _, status in seen if status >= 500]
    assert seen["GET /config", 200]
    assert seen["POST /subscriptions", 201]
    assert seen["POST /subscriptions", 422]
    assert seen["PATCH /subscriptions", 404]
    assert seen["POST /subscriptions/show", 404]
    assert seen["POST /subscriptions/test", 404]
    assert seen["POST /alerts/{alert_id}/shown", 404]
    assert seen["GET /alerts/recent", 200]
    assert seen["GET /alerts/{alert_id}", 404]

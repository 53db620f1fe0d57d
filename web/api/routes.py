"""The blueprint that the API's views are put on, and which of them pages may call."""

from flask import Blueprint

from web import security
from web.api.operation import operation_of

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


def _is_open_to_pages(endpoint: str) -> bool:
    declared = operation_of(endpoint)
    return declared is not None and declared.from_pages


security.open_to_pages(blueprint, _is_open_to_pages)

"""The HTTP API, under /api/v1."""

from web.api import alerts, articles, openapi, subscriptions
from web.api.routes import blueprint

__all__ = ["alerts", "articles", "blueprint", "openapi", "subscriptions"]

"""The HTTP API, under /api/v1."""

from web.api import alerts, articles, openapi, reader_alerts, subscriptions
from web.api.routes import blueprint

__all__ = ["alerts", "articles", "blueprint", "openapi", "reader_alerts", "subscriptions"]

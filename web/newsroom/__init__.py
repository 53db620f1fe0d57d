"""The newsroom: where editors sign in, raise alerts and watch them go out."""

# The views enter themselves in the blueprint.
import web.newsroom.alerts
import web.newsroom.compose
import web.newsroom.follow_ups
import web.newsroom.signing_in  # noqa: F401
from web.newsroom.blueprint import blueprint

__all__ = ["blueprint"]

"""The newsroom: where editors sign in, raise alerts and watch them go out."""

from web.newsroom import alerts, compose, signing_in
from web.newsroom.blueprint import blueprint

__all__ = ["alerts", "blueprint", "compose", "signing_in"]

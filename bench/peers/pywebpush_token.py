"""A VAPID token signed beforehand, for the peers that are measured with it cached."""

import time

from py_vapid import Vapid

from bench.peers.measured import Order


def vapid_headers(order: Order) -> dict[str, str]:
    """The headers that serve for every reader of the order: all are at one push service."""
    endpoint: str = order["subscriptions"][0]["endpoint"]
    origin = "/".join(endpoint.split("/")[:3])
    claims = {"sub": order["subject"], "aud": origin, "exp": int(time.time()) + 12 * 3600}
    return dict(Vapid.from_file(order["vapid_key_file"]).sign(claims))

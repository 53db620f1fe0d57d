"""Sends push messages with pywebpush, also to a push service that stands elsewhere than it says."""

import base64
from typing import Any

import pycurl
import requests
from browser import PushRoute
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from pywebpush import WebPushException, webpush


def new_vapid() -> Vapid02:
    vapid = Vapid02()
    vapid.generate_keys()
    return vapid


def public_key(vapid: Vapid02) -> str:
    """The applicationServerKey: an uncompressed point in base64url."""
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


class RoutedSession:
    """The part of a `requests.Session` that pywebpush uses, on libcurl for its CONNECT_TO."""

    def __init__(self, route: PushRoute) -> None:
        self.route = route

    def post(
        self, url: str, *, data: bytes, headers: dict[str, str], timeout: float
    ) -> requests.Response:
        assert url.startswith(f"{self.route.origin}/")
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.POSTFIELDS, data)
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
        curl.setopt(pycurl.TIMEOUT, int(timeout))
        if self.route.connect_to:
            curl.setopt(pycurl.CONNECT_TO, [self.route.connect_to])
            curl.setopt(pycurl.CAINFO, str(self.route.ca_file))
        response = requests.Response()
        response._content = curl.perform_rb()
        response.status_code = curl.getinfo(pycurl.RESPONSE_CODE)
        curl.close()
        return response


def push_to(subscription: dict[str, Any], route: PushRoute, vapid: Vapid02, text: str) -> int:
    """Sends a push message to the subscription, as the page gave it; the status of the answer."""
    try:
        response = webpush(
            subscription,
            text,
            vapid_private_key=vapid,
            vapid_claims={"sub": "mailto:desk@newsroom.example"},
            ttl=60,
            timeout=20,
            requests_session=RoutedSession(route),
        )
    except WebPushException as error:
        return error.response.status_code
    return response.status_code

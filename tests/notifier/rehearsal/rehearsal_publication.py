"""A publication that sends to the push service: well with pywebpush, or badly by hand."""

import json
import time
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from py_vapid import Vapid02
from pywebpush import WebPusher, webpush

from notifier.rehearsal.content_coding import b64url_encode, encode_point

HEADLINE = "Polls have closed"
SUBJECT = "mailto:ops@news.example"


class Publication:
    """A sender with a VAPID key that shares no code with the product's sender."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.private_key = ec.generate_private_key(ec.SECP256R1())
        self.public_key = b64url_encode(encode_point(self.private_key.public_key()))
        self.session = requests.Session()
        self.session.trust_env = False

    def push(
        self, subscription: dict[str, Any], text: str = HEADLINE, *, ttl: int = 60, **headers: str
    ) -> requests.Response:
        """Send a push message with pywebpush, which raises when it is refused."""
        vapid = Vapid02()
        vapid.private_key = self.private_key
        return webpush(
            subscription,
            text,
            vapid_private_key=vapid,
            vapid_claims={"sub": SUBJECT},
            ttl=ttl,
            headers=headers,
            requests_session=self.session,
        )

    def post(
        self,
        subscription: dict[str, Any],
        body: bytes | None = None,
        *,
        timeout: float = 30,
        stream: bool = False,
        **changes: str | None,
    ) -> requests.Response:
        """Send a good request with some headers changed, or left out when None."""
        if body is None:
            body = self.encrypt(subscription)
        headers = {
            "TTL": "60",
            "Content-Encoding": "aes128gcm",
            "Authorization": self.authorization(),
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        return self.session.post(
            subscription["endpoint"],
            data=body,
            headers={name: value for name, value in headers.items() if value is not None},
            timeout=timeout,
            stream=stream,
            allow_redirects=False,
        )

    def encrypt(self, subscription: dict[str, Any], text: str = HEADLINE) -> bytes:
        """A body as pywebpush makes it."""
        return WebPusher(subscription).encode(text.encode())["body"]

    def authorization(
        self, *, k: str | None = None, header: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """VAPID credentials with some claims changed, or left out when None."""
        claims = {"aud": self.origin, "sub": SUBJECT, "exp": int(time.time()) + 3600} | claims
        kept = {name: value for name, value in claims.items() if value is not None}
        header = {"typ": "JWT", "alg": "ES256"} if header is None else header
        signed = ".".join(b64url_encode(json.dumps(part).encode()) for part in (header, kept))
        r, s = decode_dss_signature(self.private_key.sign(signed.encode(), ec.ECDSA(SHA256())))
        signature = b64url_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"vapid t={signed}.{signature}, k={k or self.public_key}"

"""What stands in front of every view: headers, origins, addresses, sizes and rates."""

import hashlib
import hmac
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv6Address, ip_address, ip_network

from flask import Blueprint, Flask, Response, abort, current_app, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from notifier.config import Settings
from notifier.jobs import broker_url
from notifier.keys import secret
from web.services import services

MOST_BYTES = 64 * 1024
SESSION_LIFETIME = timedelta(hours=12)
STATIC_FILES_KEEP_FOR = timedelta(minutes=10)
PREFLIGHT_KEEPS_FOR = timedelta(hours=2)
HTTPS_ONLY_FOR = timedelta(days=365)

# Requests wait for the counters' storage, so it is given little time; see `limiter`.
_STORAGE_TIMEOUT = timedelta(seconds=0.25)

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' https: data:",  # an article's picture may lie anywhere
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def client_address() -> str:
    """Whom a rate limit counts: an IPv4 address, or the /64 that one IPv6 customer is given."""
    given = request.remote_addr or ""
    try:
        address = ip_address(given)
    except ValueError:  # a Unix socket, or a proxy's "unknown"
        return given or "local"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((address.packed, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


def client_key() -> str:
    """The client's address as the counters know it: a keyed hash, as no address is stored."""
    key: bytes = current_app.extensions["client_hash_key"]
    return hmac.new(key, client_address().encode(), hashlib.sha256).hexdigest()[:32]


limiter = Limiter(
    client_key,
    strategy="fixed-window",
    # Redis that is down costs a request its time-out once; then each process counts by itself
    # and looks again after 1, 2, 4 … seconds. Counting never makes a request fail.
    in_memory_fallback_enabled=True,
    swallow_errors=True,
)


def protect(app: Flask, settings: Settings) -> None:
    """Set the app up behind its proxies, with sessions, CSRF tokens, limits and headers."""
    if settings.trusted_proxies:
        proxies = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies
        )
    https = settings.base_url.startswith("https://")
    key = secret(settings.home, "session")
    app.extensions["client_hash_key"] = hashlib.sha256(f"client {key}".encode()).digest()
    app.config.update(
        SECRET_KEY=key,
        # The prefix makes browsers refuse a cookie that another host or plain http has set.
        SESSION_COOKIE_NAME="__Host-newsroom" if https else "newsroom",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        PERMANENT_SESSION_LIFETIME=SESSION_LIFETIME,
        # The cookie's prefix keeps out what the Referer is asked for; browsers and proxies that
        # leave out Referer or Host could not sign in.
        WTF_CSRF_SSL_STRICT=False,
        MAX_CONTENT_LENGTH=MOST_BYTES,
        SEND_FILE_MAX_AGE_DEFAULT=STATIC_FILES_KEEP_FOR,
        RATELIMIT_STORAGE_URI=broker_url(settings),
        RATELIMIT_STORAGE_OPTIONS={
            "socket_timeout": _STORAGE_TIMEOUT.total_seconds(),
            "socket_connect_timeout": _STORAGE_TIMEOUT.total_seconds(),
        },
    )
    limiter.init_app(app)
    app.extensions["csrf"] = CSRFProtect(app)
    app.after_request(_headers(https=https))


def exempt_from_csrf(app: Flask, *blueprints: Blueprint) -> None:
    """Leave out what no cookie opens: there is nothing that another site could borrow."""
    for blueprint in blueprints:
        app.extensions["csrf"].exempt(blueprint)


def _headers(*, https: bool) -> Callable[[Response], Response]:
    headers = {
        "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if https:
        seconds = int(HTTPS_ONLY_FOR.total_seconds())
        headers["Strict-Transport-Security"] = f"max-age={seconds}"

    def add(response: Response) -> Response:
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        # What a view does not declare cacheable may hold a reader's or the newsroom's data.
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return add


def opt_in_rate() -> str:
    """The operator's limit, for `limiter.limit`."""
    return services().settings.opt_in_rate


def open_to_pages(blueprint: Blueprint, is_open: Callable[[str], bool]) -> None:
    """Let scripts of the publication's own pages call some of the blueprint's endpoints (CORS).

    `is_open` is asked for each Flask endpoint. Other sites are refused everything that changes
    something. There are no credentials, so a program that is no browser, and sends no Origin,
    may call too.
    """

    def refuse_strangers() -> Response | None:
        if not is_open(request.endpoint or ""):
            return None
        preflight = (
            request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        )
        changes = request.method not in ("GET", "HEAD", "OPTIONS")
        if (preflight or changes) and not _allows(request.headers.get("Origin")):
            abort(403, "ALLOWED_ORIGINS does not list the site that this page lies on.")
        return Response(status=204) if preflight else None

    def add_headers(response: Response) -> Response:
        if not is_open(request.endpoint or ""):
            return response
        response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is not None and _allows(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After"
            if request.method == "OPTIONS":
                response.headers.update(_PREFLIGHT)
        return response

    blueprint.before_request(refuse_strangers)
    blueprint.after_request(add_headers)


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": str(int(PREFLIGHT_KEEPS_FOR.total_seconds())),
}


def _allows(origin: str | None) -> bool:
    settings = services().settings
    # The second is this service under another of its names, such as 127.0.0.1.
    own = (settings.base_url, request.host_url.rstrip("/"))
    return origin is None or origin in own or origin in settings.allowed_origins

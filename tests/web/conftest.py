"""A real app on a prepared deployment of its own; its broker is down unless a test starts one."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient

from notifier import tokens
from notifier.config import Settings, environment_of
from notifier.db import Database
from notifier.endpoints import encode_key
from notifier.tokens import Scope
from web import create_app

OWN_SITE = "https://www.example.com"
DEADLINE = 60.0


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture
def settings(settings: Settings, closed_port: int) -> Settings:
    return settings.model_copy(
        update={
            "broker_port": closed_port,
            "allowed_origins": (OWN_SITE,),
            "article_hosts": ("www.example.com",),
        }
    )


@pytest.fixture
def make_app() -> Iterator[Callable[[Settings], Flask]]:
    """Makes apps, and lets go of their databases after the test."""
    made: list[Flask] = []

    def make(settings: Settings) -> Flask:
        made.append(create_app(settings))
        return made[-1]

    yield make
    for app in made:
        app.extensions["notifier"].close()


@pytest.fixture
def app(settings: Settings, make_app: Callable[[Settings], Flask]) -> Flask:
    return make_app(settings)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def token(db: Database) -> str:
    """A bearer token that may write articles."""
    with db.write() as session:
        return tokens.create(session, Scope.ARTICLES_WRITE, "cms")


@pytest.fixture
def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def push_subscription() -> Callable[..., dict[str, Any]]:
    """Makes what a browser's `PushSubscription.toJSON()` gives, with real keys."""

    def make(name: str = "reader") -> dict[str, Any]:
        point = ec.generate_private_key(ec.SECP256R1()).public_key()
        return {
            "endpoint": f"https://updates.push.services.mozilla.com/wpush/v2/{name}",
            "expirationTime": None,
            "keys": {
                "p256dh": encode_key(
                    point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                ),
                "auth": encode_key(os.urandom(16)),
            },
        }

    return make


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], str]]:
    """Starts gunicorn with two processes of eight threads, as in production; answers its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(settings: Settings) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:web.server", "web:create_app()"],
            env=environment_of(settings.model_copy(update={"port": port, "web_processes": 2})),
            cwd=settings.home,
        )
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + DEADLINE
        while not _is_up(url):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return url

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(DEADLINE)


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):  # it is still importing
        return False

"""A real app on a prepared deployment of its own; its broker is down unless a test starts one."""

import base64
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask import Flask
from flask.testing import FlaskClient

from notifier import tokens
from notifier.config import Settings
from notifier.db import Database
from notifier.setup import prepare
from notifier.tokens import Scope
from web import create_app

OWN_SITE = "https://www.example.com"


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a deployment that has just been set up, for tests to copy."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    prepare(Settings(_env_file=None, notifier_home=home))
    return home


@pytest.fixture
def settings(tmp_path: Path, prepared_home: Path) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed_port = taken.getsockname()[1]
    home = tmp_path / "home"
    shutil.copytree(prepared_home, home)
    return Settings(
        _env_file=None,
        notifier_home=home,
        broker_port=closed_port,
        allowed_origins=(OWN_SITE,),
        article_hosts=("www.example.com",),
    )


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database)
    yield database
    database.close()


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    yield app
    app.extensions["notifier"].db.close()


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
                "p256dh": _base64url(
                    point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                ),
                "auth": _base64url(os.urandom(16)),
            },
        }

    return make


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

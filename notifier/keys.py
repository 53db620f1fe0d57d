"""What stays secret and outlives everything: VAPID private keys, and random secrets in files."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from notifier.db import Database, now_of
from notifier.errors import NotReady
from notifier.models import VapidPublicKey
from notifier.push.vapid import VapidKey


def prepare_home(home: Path) -> None:
    """Make the home folder and the folder of secrets, which only their owner may enter."""
    home.mkdir(parents=True, exist_ok=True)
    for folder in (home, _secrets(home)):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def secret(home: Path, name: str) -> str:
    """The lasting random secret of that name (256 bits), made the first time it is asked for."""
    path = _secrets(home) / name
    if not path.exists():
        draft = path.with_name(f"{name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        # A link appears whole or not at all, and never replaces what another process made first.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()


def token_hash(token: str) -> bytes:
    """How a random token is kept: its SHA-256, from which nobody gets it back."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> str:
    """A random token of 128 bits, as text that fits into URLs."""
    return secrets.token_urlsafe(16)


def ensure_vapid_key(db: Database, home: Path) -> VapidKey:
    """The newest VAPID key, made and recorded if there is none yet."""
    keys = load_vapid_keys(db, home)
    return keys[max(keys)] if keys else add_vapid_key(db, home)


def add_vapid_key(db: Database, home: Path) -> VapidKey:
    """Make a key pair that new subscriptions are made with; older ones keep theirs."""
    key = VapidKey.generate()
    key.save(_key_file(home, key.public_key))
    with db.write() as session:
        row = VapidPublicKey(public_key=key.public_key, created_at=now_of(session))
        session.add(row)
        session.flush()
        return key.with_id(row.id)


def newest_public_key(session: Session) -> bytes:
    """The public key, 65 bytes, that new subscriptions are made with.

    Raises NotReady when there is none yet.
    """
    query = select(VapidPublicKey.public_key).order_by(VapidPublicKey.id.desc()).limit(1)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise NotReady("There is no VAPID key yet. Run `notifier setup` first.")
    return found


def load_vapid_keys(db: Database, home: Path) -> dict[int, VapidKey]:
    """Every recorded key with its private half, by id.

    Raises NotReady when a file is missing: its readers could not be reached any more.
    """
    with db.read() as session:
        rows = session.execute(select(VapidPublicKey.id, VapidPublicKey.public_key)).all()
    keys: dict[int, VapidKey] = {}
    for key_id, public_key in rows:
        path = _key_file(home, public_key)
        if not path.exists():
            raise NotReady(
                f"The private VAPID key {path.name} is missing from {path.parent}. "
                "Restore it from your backup: readers who subscribed with it need it."
            )
        keys[key_id] = VapidKey.load(path).with_id(key_id)
    return keys


def _secrets(home: Path) -> Path:
    return home / "secrets"


def _key_file(home: Path, public_key: bytes) -> Path:
    return _secrets(home) / f"vapid-{hashlib.sha256(public_key).hexdigest()[:16]}.pem"

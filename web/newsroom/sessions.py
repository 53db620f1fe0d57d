"""Who is signed in: what the session cookie says, held against the editors' table."""

import hashlib
import hmac
import time
from dataclasses import dataclass

from flask import abort, current_app, g, session

from notifier import editors
from notifier.models import Editor
from web.security import SESSION_LIFETIME
from web.services import services


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The editor who is asking."""

    id: int
    email: str


def begin(editor: Editor) -> None:
    """Sign an editor in; nothing of the session that was there before remains."""
    session.clear()
    session.permanent = True
    session["editor"] = editor.id
    session["password"] = _fingerprint(editor)
    session["since"] = int(time.time())


def end() -> None:
    """Sign out."""
    session.clear()


def current() -> SignedIn | None:
    """The signed-in editor, or None.

    A session ends with its 12 hours, with its editor, and when the password changes.
    """
    if "editor_in_session" not in g:
        g.editor_in_session = None  # the page that says what has failed does not look again
        g.editor_in_session = _look_up()
    found: SignedIn | None = g.editor_in_session
    return found


def required() -> SignedIn:
    """The signed-in editor, for views that act in the editor's name."""
    editor = current()
    if editor is None:
        abort(401)
    return editor


def _look_up() -> SignedIn | None:
    editor_id, since = session.get("editor"), session.get("since")
    if not isinstance(editor_id, int) or not isinstance(since, int):
        return None
    if time.time() > since + SESSION_LIFETIME.total_seconds():
        return None
    with services().db.read() as transaction:
        editor = editors.get(transaction, editor_id)
    if editor is None:
        return None
    if not hmac.compare_digest(_fingerprint(editor), str(session.get("password"))):
        return None
    return SignedIn(editor.id, editor.email)


def _fingerprint(editor: Editor) -> str:
    """Changes with the password; the cookie can be read, so it tells nothing of the hash."""
    key = str(current_app.secret_key).encode()
    return hmac.new(key, (editor.password_hash or "").encode(), hashlib.sha256).hexdigest()[:32]

"""The service's own pages for a browser, in states that a running service leaves in no time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from werkzeug.serving import WSGIRequestHandler, make_server

from notifier import alerts, articles, editors, follow_ups, subscriptions
from notifier.alerts import Draft
from notifier.articles import ArticleContent
from notifier.config import Settings
from notifier.db import Database
from notifier.endpoints import Endpoint
from notifier.ledger import Ledger
from notifier.links import LinkPolicy
from notifier.models import AlertKind, ArticleStatus, Reaction, ReactionCount
from notifier.subscriptions import BrowserSubscription
from web import create_app

PUSH_ORIGIN = "https://updates.push.services.mozilla.com"
VALIDITY = timedelta(hours=4)
LINK = "https://www.example.com/bridge"


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The web app alone, with nobody who sends what is released; gives its origin."""
    app = create_app(settings)
    server = make_server("127.0.0.1", settings.port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield settings.base_url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        app.extensions["notifier"].close()


def invite(db: Database, email: str) -> str:
    """The path of a link that signs an editor in."""
    with db.write() as session:
        return f"/newsroom/welcome/{editors.invite(session, email)}"


def add_readers(db: Database, count: int) -> None:
    with db.write() as session:
        for _ in range(count):
            url = f"{PUSH_ORIGIN}/wpush/v2/{os.urandom(12).hex()}"
            endpoint = Endpoint(url, PUSH_ORIGIN, "mozilla")
            browser = BrowserSubscription(endpoint, b"\4" + bytes(64), bytes(16))
            subscriptions.opt_in(session, browser)


def add_article(db: Database, title: str) -> None:
    content = ArticleContent(url=LINK, title=title, status=ArticleStatus.PUBLISHED)
    with db.write() as session:
        articles.publish(
            session, "4711", content, LinkPolicy(), validity=VALIDITY, released_by="cms"
        )


def add_alert(db: Database, title: str, *, sent: bool) -> int:
    """An alert that goes out, or has been sent, shown and clicked; gives its id."""
    draft = Draft(title, "Nobody was hurt. Ferries have been laid on.", LINK)
    with db.write() as session:
        alert = alerts.release(
            session, draft, validity=VALIDITY, released_by="ines@example.com", count_reactions=True
        )
        alert_id: int = alert.id
    _send(db, finish=sent)
    if sent:
        with db.write() as session:
            for reaction, reports in ((Reaction.SHOWN, 12), (Reaction.CLICKED, 3)):
                session.add(
                    ReactionCount(
                        alert_id=alert_id, reaction=reaction, browser="firefox", reports=reports
                    )
                )
    return alert_id


def follow_up(db: Database, alert_id: int, kind: AlertKind, title: str) -> int:
    """What follows an alert, and goes out; gives its id."""
    with db.write() as session:
        after = alerts.get(session, alert_id)
        draft = follow_ups.draft_after(after, kind, title=title, body="", url=LINK)
        alert, _ = follow_ups.release(
            session, after, draft, validity=VALIDITY, released_by="ines@example.com"
        )
        alert_id: int = alert.id
    _send(db, finish=False)
    return alert_id


def _send(db: Database, *, finish: bool) -> None:
    ledger = Ledger(db)
    while ledger.plan():
        pass
    while finish and (lease := ledger.claim()):
        lease.settle_rest("accepted")
        ledger.finish(lease)

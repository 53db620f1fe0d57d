"""What one worker process holds: its database, its sender, and whether it has been told to leave.

Made after the fork and kept across tasks, so that connections to push services stay open.
"""

import multiprocessing
import signal
from ctypes import c_bool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown

from notifier.config import get_settings
from notifier.db import Database
from notifier.delivery import Delivery
from notifier.endpoints import EndpointPolicy
from notifier.keys import load_vapid_keys
from notifier.ledger import Ledger
from notifier.notification import Appearance
from notifier.own_messages import OwnMessages, Publication
from notifier.push import Sender, Transport, VapidSigner
from notifier.setup import require

# Without a lock: a process that is killed while it looks would keep one for ever, and a second
# SIGTERM that interrupts the handling of the first would wait for it in vain.
_leaving = multiprocessing.get_context("fork").RawValue(c_bool, False)


def leave() -> None:
    """Called in the main process: all are to finish what is in flight, and return."""
    _leaving.value = True


def is_leaving() -> bool:
    """Whether this process is to finish what is in flight, give back the rest, and return."""
    return bool(_leaving.value)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    db: Database
    ledger: Ledger
    sender: Sender[Any]
    delivery: Delivery
    own_messages: OwnMessages

    def close(self) -> None:
        self.sender.close()
        self.db.close()


@lru_cache(maxsize=1)
def current() -> WorkerProcess:
    """This process's own. Raises NotReady when the deployment has not been set up."""
    settings = get_settings()
    db = Database(settings.database)
    require(db)
    ledger = Ledger(db)
    sender: Sender[Any] = Sender(
        Transport(
            concurrency=settings.send_concurrency,
            connect_to=settings.push_connect_to,
            ca_file=settings.ca_file,
        ),
        VapidSigner(
            load_vapid_keys(db, settings.home),
            settings.vapid_subject,
            reload=lambda: load_vapid_keys(db, settings.home),
        ),
        EndpointPolicy(settings.extra_push_origins),
    )
    appearance = Appearance(
        icon=f"{settings.base_url}/static/icon-192.png",
        language=settings.publication_language,
        service=settings.base_url,
        tagged_hosts=settings.tagged_hosts,
    )
    publication = Publication(settings.publication_name, settings.home_page)
    return WorkerProcess(
        db,
        ledger,
        sender,
        Delivery(db, ledger, sender, appearance),
        OwnMessages(db, sender, appearance, publication),
    )


@worker_process_init.connect
def _leave_gently(**_: Any) -> None:
    # A signal to the whole process group reaches this process too, and would end it in the middle
    # of sending: everything since the last checkpoint would be sent twice. It is the main process
    # that says when to leave. A handler of our own would be replaced after this; what is ignored
    # stays ignored.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@worker_process_shutdown.connect
def _close(**_: Any) -> None:
    if current.cache_info().currsize:
        current().close()

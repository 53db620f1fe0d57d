"""What the script has stored in a reader's browser, and what the service knows of that reader."""

import json
from datetime import timedelta
from typing import Any

from browser import Browser
from sqlalchemy import select

from notifier.db import Database, now_of
from notifier.models import Subscription
from notifier.rehearsal.deployment import Deployment

STATE = """(mode, work) => new Promise((resolve, reject) => {
  const opening = indexedDB.open("notifier", 1);
  opening.onerror = reject;
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore("state");
    opening.result.createObjectStore("alerts", { keyPath: "alert" });
  };
  opening.onsuccess = () => {
    const memory = opening.result;
    const transaction = memory.transaction("state", mode);
    const request = work(transaction.objectStore("state"));
    transaction.oncomplete = () => { memory.close(); resolve(request.result ?? null); };
  };
})"""

SUBSCRIPTION = """navigator.serviceWorker.getRegistration("/notifier/")
  .then((found) => found ? found.pushManager.getSubscription() : null)"""


def recall(browser: Browser, name: str) -> Any:
    """What is stored under the name, on the site of the open page; None without it."""
    return browser.evaluate(f"({STATE})('readonly', (state) => state.get({json.dumps(name)}))")


def remember(browser: Browser, name: str, value: Any) -> None:
    put = f"state.put({json.dumps(value)}, {json.dumps(name)})"
    browser.evaluate(f"({STATE})('readwrite', (state) => {put})")


def forget_everything(browser: Browser) -> None:
    """As a browser that clears away what a site has stored, but not its subscription."""
    browser.evaluate(f"({STATE})('readwrite', (state) => state.clear())")


def age(browser: Browser, name: str, moment: str, by: timedelta) -> None:
    """Makes what is stored older."""
    value = recall(browser, name)
    value[moment] -= by.total_seconds() * 1000
    remember(browser, name, value)


def subscription(browser: Browser) -> Any:
    """The browser's own subscription on the site of the open page, if there is one."""
    return browser.evaluate(SUBSCRIPTION)


def rows(deployment: Deployment) -> dict[int, Subscription]:
    """Every reader that the service knows, by id."""
    db = Database(deployment.settings.database)
    with db.read() as session:
        found = {row.id: row for row in session.scalars(select(Subscription))}
        session.expunge_all()
    db.close()
    return found


def set_gone(deployment: Deployment, row_id: int) -> None:
    """As when the push service has answered that the subscription is no more."""
    db = Database(deployment.settings.database)
    with db.write() as session:
        session.get_one(Subscription, row_id).gone_at = now_of(session)
    db.close()


def delete_row(deployment: Deployment, row_id: int) -> None:
    """As a service that was set back to an older backup."""
    db = Database(deployment.settings.database)
    with db.write() as session:
        session.delete(session.get_one(Subscription, row_id))
    db.close()

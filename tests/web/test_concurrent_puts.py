"""Many PUTs of one breaking article at once, on a real server of several processes."""

import threading
from collections import Counter
from collections.abc import Callable

import requests
from sqlalchemy import func, select

from notifier.config import Settings
from notifier.db import Database
from notifier.models import Alert, Article

PUTS = 50
DEADLINE = 60.0

BREAKING = {
    "url": "https://www.example.com/2030/flood",
    "title": "River rises above its banks",
    "status": "published",
    "breaking": True,
}


def test_fifty_concurrent_puts_of_a_breaking_article_raise_one_alert(
    settings: Settings, serve: Callable[[Settings], str], db: Database, bearer: dict[str, str]
) -> None:
    server = serve(settings)
    together = threading.Barrier(PUTS)
    answers: list[requests.Response] = []

    def put(title: str) -> None:
        together.wait()
        answers.append(
            requests.put(
                f"{server}/api/v1/articles/4711",
                json=BREAKING | {"title": title},
                headers=bearer,
                timeout=DEADLINE,
            )
        )

    threads = [threading.Thread(target=put, args=(f"Title {n}",)) for n in range(PUTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: PUTS - 1}
    assert len({answer.json()["alert"]["id"] for answer in answers}) == 1
    with db.read() as session:
        assert session.execute(select(func.count()).select_from(Alert)).scalar_one() == 1
        assert session.execute(select(func.count()).select_from(Article)).scalar_one() == 1

"""What the CMS tells us, and the one alert that it may raise."""

from typing import Any

import pytest
from publication import HOUR, Publication, browser
from sqlalchemy import func, select
from together import together

from notifier import articles, audience, sections, subscriptions
from notifier.articles import ArticleContent, Published
from notifier.audience import Audience
from notifier.db import Database
from notifier.errors import InvalidInput
from notifier.links import LinkPolicy
from notifier.models import Alert, AlertState, ArticleStatus

LINKS = LinkPolicy(("www.example.com",))


def put(db: Database, article_id: str = "a1", **changes: Any) -> Published:
    values: dict[str, Any] = {
        "url": "https://www.example.com/a1",
        "title": "Bridge closed",
        "status": ArticleStatus.PUBLISHED,
    }
    with db.write() as session:
        return articles.publish(
            session,
            article_id,
            ArticleContent(**(values | changes)),
            LINKS,
            validity=HOUR,
            released_by="cms",
        )


def count_alerts(db: Database) -> int:
    with db.read() as session:
        return session.scalars(select(func.count()).select_from(Alert)).one()


def test_an_article_that_is_published_and_breaking_raises_one_alert(db: Database) -> None:
    published = put(
        db,
        breaking=True,
        summary="Until further notice.",
        image="https://cdn.example.net/bridge.jpg",
        sections=("sport",),
    )

    alert = published.alert
    assert published.created
    assert published.raised
    assert published.warnings == []
    assert alert is not None
    assert alert.state == AlertState.RELEASED
    assert (alert.title, alert.body) == ("Bridge closed", "Until further notice.")
    assert alert.url == "https://www.example.com/a1"
    assert alert.image == "https://cdn.example.net/bridge.jpg"
    assert alert.released_by == "cms"
    assert alert.expires_at - alert.released_at == HOUR
    assert published.article.story_id == alert.story_id


@pytest.mark.parametrize(
    "change",
    [{"breaking": False}, {"breaking": True, "status": ArticleStatus.DRAFT}],
)
def test_what_is_not_both_raises_none(db: Database, change: dict[str, Any]) -> None:
    published = put(db, **change)

    assert published.created
    assert published.alert is None
    assert not published.raised
    assert count_alerts(db) == 0


def test_the_alert_is_raised_when_a_draft_is_published_or_flagged_later(db: Database) -> None:
    put(db, "draft", breaking=True, status=ArticleStatus.DRAFT)
    put(db, "calm")

    assert put(db, "draft", breaking=True).raised
    assert put(db, "calm", breaking=True).raised
    assert count_alerts(db) == 2


def test_repeating_changes_the_article_but_never_raises_a_second_alert(db: Database) -> None:
    first = put(db, breaking=True)
    put(db, breaking=False)

    again = put(db, breaking=True, title="Bridge closed for weeks")

    assert not again.created
    assert not again.raised
    assert again.alert is not None
    assert again.alert.id == first.alert.id
    assert again.alert.title == "Bridge closed", "what was sent stays what was sent"
    assert again.article.title == "Bridge closed for weeks"
    assert count_alerts(db) == 1


def test_fifty_puts_at_once_raise_one_alert(db: Database) -> None:
    published = together(50, lambda _: put(db, breaking=True))

    assert count_alerts(db) == 1
    assert [one.raised for one in published].count(True) == 1
    assert [one.created for one in published].count(True) == 1
    assert len({one.alert.id for one in published if one.alert}) == 1


def test_revisions_at_once_leave_the_highest(db: Database) -> None:
    together(20, lambda number: put(db, revision=number + 1, title=f"Revision {number + 1}"))

    kept = put(db, revision=0)
    assert (kept.article.revision, kept.article.title) == (20, "Revision 20")


def test_a_lower_revision_changes_nothing(db: Database) -> None:
    put(db, revision=5)

    late = put(db, revision=4, title="Older", breaking=True, status=ArticleStatus.PUBLISHED)

    assert late.article.title == "Bridge closed"
    assert late.article.revision == 5
    assert not late.article.breaking
    assert late.alert is None
    assert "Revision 5 is already stored" in late.warnings[0]
    assert put(db, revision=5, title="Same").article.title == "Same"
    assert put(db, revision=6, title="Newer").article.revision == 6
    without = put(db, title="No revision")
    assert (without.article.title, without.article.revision) == ("No revision", 6)


def test_the_first_revision_may_be_any(db: Database) -> None:
    assert put(db, revision=0, title="First").article.title == "First"
    assert put(db, "negative", revision=-3, title="Odd").article.title == "Odd"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "https://evil.example/a"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"image": "http://www.example.com/i.jpg"}, "image"),
    ],
)
def test_links_that_are_not_the_newsrooms_are_refused(
    db: Database, change: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        put(db, breaking=True, **change)

    assert refused.value.field == field
    assert count_alerts(db) == 0
    with db.read() as session:
        assert articles.latest(session, 9) == []


def test_an_alert_goes_to_the_sections_of_its_article(
    db: Database, publication: Publication
) -> None:
    publication.add_readers(2, sections=["sport"])
    publication.add_readers(3, sections=["world"])
    publication.add_readers(4)

    def reach(*names: str) -> int:
        published = put(db, article_id=f"about {names}", breaking=True, sections=names)
        assert published.alert is not None
        with db.read() as session:
            return audience.size(session, Audience(published.alert.sections))

    assert reach("Sport") == 6
    assert reach("sport", "WORLD") == 9
    assert reach() == 9
    assert reach("sport", "gardening") == 6
    assert reach("gardening") == 4, "not to those who chose something else"


def test_sections_that_readers_cannot_choose_are_kept_and_warned_of(db: Database) -> None:
    published = put(db, breaking=True, sections=("Gardening", "Sport"))

    assert published.article.sections == ["gardening", "sport"]
    (warning,) = published.warnings
    assert warning == (
        "Readers cannot choose gardening; "
        "they can choose: politics, world, business, sport, culture."
    )


def test_the_latest_articles_come_first(db: Database) -> None:
    for name in ("one", "two", "three"):
        put(db, name)
    put(db, "one", title="Again")

    with db.read() as session:
        assert [article.id for article in articles.latest(session, 2)] == ["one", "three"]


def test_who_opted_in_before_is_the_audience(db: Database, publication: Publication) -> None:
    publication.add_readers(2)
    alert = put(db, breaking=True).alert
    assert alert is not None
    with db.write() as session:
        later = subscriptions.opt_in(session, browser()).subscription.id

    assert alert.plan_below <= later
    with db.read() as session:
        assert sections.slugs_of(session, alert.sections) == []

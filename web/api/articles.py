"""What a CMS tells us: PUT an article, and with it, once, an alert."""

from flask import g

from notifier import articles
from notifier.errors import InvalidInput
from notifier.jobs import Job
from notifier.tokens import Scope
from web.api import schemas
from web.api.operation import Answer, operation
from web.api.routes import blueprint
from web.services import services

_ARTICLE_ID = {
    "type": "string",
    "minLength": 1,
    "maxLength": schemas.LONGEST_ARTICLE_ID,
    "description": "The CMS's own name for the article: any printable text, percent-encoded.",
    "examples": ["4711"],
}


@blueprint.put("/articles/<path:article_id>")
@operation(
    "Publish or update an article",
    tag="Articles",
    body=schemas.ArticleBody,
    scope=Scope.ARTICLES_WRITE,
    parameters={"article_id": _ARTICLE_ID},
    answers={
        201: ("The article is new.", schemas.PublishedAnswer),
        200: ("The article was known.", schemas.PublishedAnswer),
    },
)
def put_article(article_id: str, body: schemas.ArticleBody) -> Answer:
    """The first time that an article is both `published` and `breaking` it raises exactly one
    alert. Repeating a request is harmless, and one with a lower `revision` than the stored one
    changes nothing: `alert` is then the alert that there is."""
    _check_id(article_id)
    settings = services().settings
    with services().db.write() as session:
        published = articles.publish(
            session,
            article_id,
            body.content(),
            services().links,
            validity=settings.alert_validity,
            released_by=g.caller,
            count_reactions=settings.count_reactions,
        )
        answer = schemas.PublishedAnswer.of(published)
    if published.raised:
        services().queue.ring(Job.DELIVER)
    return answer, 201 if published.created else 200


def _check_id(article_id: str) -> None:
    longest = schemas.LONGEST_ARTICLE_ID
    # Bytes of a URL that are not UTF-8 arrive as the replacement character.
    is_text = article_id.isprintable() and "\N{REPLACEMENT CHARACTER}" not in article_id
    if not is_text or len(article_id) > longest:
        raise InvalidInput(
            f"An article's id has 1 to {longest} printable characters.", field="article_id"
        )

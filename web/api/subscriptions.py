"""Opting in, changing, moving and opting out; and what a page needs to know for it."""

from flask import Response

from notifier import keys, sections, subscriptions
from notifier.endpoints import encode_key
from notifier.jobs import Job
from web.api import reader_schemas as schemas
from web.api.operation import CHANGE_RATE, Answer, cacheable, operation
from web.api.routes import blueprint
from web.security import opt_in_rate
from web.services import services

_TAG = "Subscriptions"
_TEST_RATE = "6 per minute"
_NOT_PROVED = {404: "There is no such subscription, or the proof is not its own."}


@blueprint.get("/config")
@operation(
    "What a page needs to subscribe",
    tag=_TAG,
    answers={200: ("The newest VAPID key and the sections on offer.", schemas.ConfigAnswer)},
    from_pages=True,
    rate=CHANGE_RATE,
)
def config() -> Response:
    """Give `vapid_public_key` to `pushManager.subscribe()` as its `applicationServerKey`."""
    settings = services().settings
    with services().db.read() as session:
        answer = schemas.ConfigAnswer(
            vapid_public_key=encode_key(keys.newest_public_key(session)),
            publication=settings.publication_name,
            language=settings.publication_language,
            sections=[
                schemas.SectionOut(slug=section.slug, name=section.name)
                for section in sections.offered(session)
            ],
            hosts=list(settings.article_hosts),
            counting=settings.count_reactions,
        )
    return cacheable(answer)


@blueprint.post("/subscriptions")
@operation(
    "Opt in, or say again that one is subscribed",
    tag=_TAG,
    body=schemas.OptInBody,
    answers={
        201: ("Recorded.", schemas.OptInAnswer),
        200: ("It was known already, and is up to date.", schemas.OptInAnswer),
    },
    problems={409: "The endpoint is known with other keys."},
    from_pages=True,
    rate=opt_in_rate,
)
def opt_in(body: schemas.OptInBody) -> Answer:
    """Send what `PushSubscription.toJSON()` gives. Sending it again is harmless: choices that
    are left out stay as they are. With `old`, the subscription that it proves moves to the new
    endpoint, and keeps its choices. The token that proved it stays valid; otherwise there is a
    new one."""
    old = None if body.old is None else body.old.proof(services().endpoints)
    with services().db.write() as session:
        recorded = subscriptions.opt_in(
            session,
            body.subscription.browser(body.vapid_public_key),
            sections=body.sections,
            level=body.level,
            language=body.language,
            old=old,
            welcome=body.welcome,
        )
        answer = schemas.OptInAnswer(
            subscription=schemas.Held.of(session, recorded.subscription),
            management_token=recorded.management_token,
            was_gone=recorded.was_gone,
        )
    if recorded.created and body.welcome:
        services().queue.ring(Job.OWN_MESSAGES)
    return answer, 201 if recorded.created else 200


@blueprint.post("/subscriptions/show")
@operation(
    "What is held of a subscription",
    tag=_TAG,
    body=schemas.ProofBody,
    answers={
        200: ("Everything but its keys and how its messages fare.", schemas.SubscriptionAnswer)
    },
    problems=_NOT_PROVED,
    from_pages=True,
    rate=CHANGE_RATE,
)
def show(body: schemas.ProofBody) -> Answer:
    """Prove ownership in the body, never in a URL: URLs are logged."""
    with services().db.read() as session:
        found = subscriptions.find(session, body.proof(services().endpoints))
        return schemas.SubscriptionAnswer(subscription=schemas.Held.of(session, found)), 200


@blueprint.patch("/subscriptions")
@operation(
    "Change what one wants",
    tag=_TAG,
    body=schemas.ChangeBody,
    answers={200: ("As it stands now.", schemas.SubscriptionAnswer)},
    problems=_NOT_PROVED,
    from_pages=True,
    rate=CHANGE_RATE,
)
def change(body: schemas.ChangeBody) -> Answer:
    """Prove ownership in the body; what is left out stays as it is. Corrections and withdrawals
    come to everybody who may have received what they correct, in a pause and of a muted story
    too."""
    with services().db.write() as session:
        changed = subscriptions.change(
            session,
            body.proof(services().endpoints),
            sections=body.sections,
            level=body.level,
            language=body.language,
            pause=body.pause,
            mute=_story_id(body.mute),
            unmute=_story_id(body.unmute),
        )
        return schemas.SubscriptionAnswer(subscription=schemas.Held.of(session, changed)), 200


@blueprint.delete("/subscriptions")
@operation(
    "Opt out",
    tag=_TAG,
    body=schemas.ProofBody,
    answers={204: ("Deleted, with everything known about the reader.", None)},
    problems=_NOT_PROVED,
    from_pages=True,
    rate=CHANGE_RATE,
)
def opt_out(body: schemas.ProofBody) -> Answer:
    """Prove ownership in the body."""
    with services().db.write() as session:
        subscriptions.opt_out(session, body.proof(services().endpoints))
    return None, 204


@blueprint.post("/subscriptions/test")
@operation(
    "Send a test notification",
    tag=_TAG,
    body=schemas.ProofBody,
    answers={202: ("It is on its way, to this one browser.", None)},
    problems=_NOT_PROVED | {409: "The push service no longer knows the subscription."},
    from_pages=True,
    rate=_TEST_RATE,
)
def send_test(body: schemas.ProofBody) -> Answer:
    """Prove ownership in the body."""
    with services().db.write() as session:
        subscriptions.ask_for_test(session, body.proof(services().endpoints))
    services().queue.ring(Job.OWN_MESSAGES)
    return None, 202


def _story_id(name: str | None) -> int | None:
    return None if name is None else int(name.rpartition("-")[2])

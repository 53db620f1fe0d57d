"""Opting in, changing, moving and opting out; and what a page needs to know for it."""

import base64
from datetime import timedelta

from flask import Response
from sqlalchemy.orm import Session

from notifier import keys, sections, subscriptions
from notifier.models import Subscription
from web.api import schemas
from web.api.operation import CHANGE_RATE, Answer, operation
from web.api.routes import blueprint
from web.security import opt_in_rate
from web.services import services

_TAG = "Subscriptions"
_CONFIG_KEEPS_FOR = timedelta(minutes=1)
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
    with services().db.read() as session:
        answer = schemas.ConfigAnswer(
            vapid_public_key=_base64url(keys.newest_public_key(session)),
            publication=services().settings.publication_name,
            sections=[
                schemas.SectionOut(slug=section.slug, name=section.name)
                for section in sections.offered(session)
            ],
        )
    response = Response(answer.model_dump_json(), content_type="application/json")
    response.cache_control.public = True
    response.cache_control.max_age = int(_CONFIG_KEEPS_FOR.total_seconds())
    return response


@blueprint.post("/subscriptions")
@operation(
    "Opt in",
    tag=_TAG,
    body=schemas.OptInBody,
    answers={
        201: ("Recorded.", schemas.OptInAnswer),
        200: ("It was known already, with the same keys, and is up to date.", schemas.OptInAnswer),
    },
    problems={409: "The endpoint is known with other keys."},
    from_pages=True,
    rate=opt_in_rate,
)
def opt_in(body: schemas.OptInBody) -> Answer:
    """Send what `PushSubscription.toJSON()` gives. Sending it again is harmless: choices that
    are left out stay as they are."""
    with services().db.write() as session:
        recorded = subscriptions.opt_in(
            session,
            body.subscription.browser(body.vapid_public_key),
            sections=body.sections,
            language=body.language,
        )
        answer = schemas.OptInAnswer(
            subscription=_choices(session, recorded.subscription),
            management_token=recorded.management_token,
        )
    return answer, 201 if recorded.created else 200


@blueprint.patch("/subscriptions")
@operation(
    "Change sections or language",
    tag=_TAG,
    body=schemas.ChangeBody,
    answers={200: ("As it stands now.", schemas.SubscriptionAnswer)},
    problems=_NOT_PROVED,
    from_pages=True,
    rate=CHANGE_RATE,
)
def change(body: schemas.ChangeBody) -> Answer:
    """Prove ownership in the body; what is left out stays as it is."""
    with services().db.write() as session:
        changed = subscriptions.change(
            session,
            body.proof(services().endpoints),
            sections=body.sections,
            language=body.language,
        )
        return schemas.SubscriptionAnswer(subscription=_choices(session, changed)), 200


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


@blueprint.post("/subscriptions/renew")
@operation(
    "Move to a new endpoint",
    tag=_TAG,
    body=schemas.RenewBody,
    answers={200: ("Moved; the choices stay.", schemas.SubscriptionAnswer)},
    problems=_NOT_PROVED | {409: "The new endpoint is another subscription already."},
    from_pages=True,
    rate=CHANGE_RATE,
)
def renew(body: schemas.RenewBody) -> Answer:
    """For `pushsubscriptionchange`: replace the endpoint that the browser has given up."""
    with services().db.write() as session:
        renewed = subscriptions.renew(
            session,
            body.old.proof(services().endpoints),
            body.subscription.browser(body.vapid_public_key),
        )
        return schemas.SubscriptionAnswer(subscription=_choices(session, renewed)), 200


def _choices(session: Session, subscription: Subscription) -> schemas.Choices:
    return schemas.Choices(
        sections=sections.slugs_of(session, subscription.sections),
        language=subscription.language,
    )


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

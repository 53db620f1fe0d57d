"""What the API takes from readers' browsers and answers them: pydantic models."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from notifier import endpoints, sections, subscriptions
from notifier.db import now_of
from notifier.endpoints import EndpointPolicy
from notifier.errors import InvalidInput
from notifier.models import Alert, AlertKind, Level, Subscription, topic_of
from notifier.notification import title_of
from notifier.proofs import Proof
from notifier.subscriptions import BrowserSubscription, Pause
from web.api.fields import (
    EXAMPLE_AUTH,
    EXAMPLE_ENDPOINT,
    EXAMPLE_MANAGEMENT,
    EXAMPLE_P256DH,
    LEVELS,
    Auth,
    CheckedEndpoint,
    Language,
    LevelName,
    P256dh,
    Sections,
    StoryName,
    VapidKey,
)
from web.api.schemas import Body


class PushKeys(BaseModel):
    """The `keys` of a PushSubscription."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    p256dh: P256dh
    auth: Auth


class PushSubscription(BaseModel):
    """What `PushSubscription.toJSON()` gives in a browser; more than this is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    endpoint: CheckedEndpoint
    keys: PushKeys

    def browser(self, vapid_public_key: bytes | None) -> BrowserSubscription:
        return BrowserSubscription(
            self.endpoint, self.keys.p256dh, self.keys.auth, vapid_public_key
        )


class ProofBody(Body):
    """Proves that a subscription is the sender's: by token, or by `endpoint` and `auth`.

    `p256dh` need not be sent, but must be right when it is.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["management_token"]},
                {"required": ["endpoint", "auth"]},
            ]
        }
    )

    management_token: Annotated[
        str | None,
        Field(
            max_length=200,
            description="As the opt-in answered it.",
            examples=[EXAMPLE_MANAGEMENT],
        ),
    ] = None
    endpoint: Annotated[
        str | None,
        Field(max_length=endpoints.MAX_URL_LENGTH, examples=[EXAMPLE_ENDPOINT]),
    ] = None
    auth: Annotated[str | None, Field(max_length=128, examples=[EXAMPLE_AUTH])] = None
    p256dh: Annotated[str | None, Field(max_length=128, examples=[EXAMPLE_P256DH])] = None

    def proof(self, policy: EndpointPolicy) -> Proof:
        """The proof as the domain compares it; what cannot be decoded proves nothing."""
        return Proof(
            endpoint=None if self.endpoint is None else _as_stored(self.endpoint, policy),
            auth=None if self.auth is None else _decoded(self.auth, "auth"),
            management_token=self.management_token,
            p256dh=None if self.p256dh is None else _decoded(self.p256dh, "p256dh"),
        )


class OldProof(ProofBody):
    """Proves the subscription that this one replaces: by token, or by all that was known of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["management_token"]},
                {"required": ["endpoint", "p256dh", "auth"]},
            ]
        }
    )


class OptInBody(Body):
    subscription: PushSubscription
    sections: Sections | None = None
    level: LevelName | None = None
    language: Language | None = None
    vapid_public_key: VapidKey | None = None
    old: Annotated[
        OldProof | None,
        Field(
            description="Proof of the subscription that this browser had before: its choices "
            "stay, and its token if that is the proof. One that proves nothing is ignored."
        ),
    ] = None
    welcome: Annotated[bool, Field(description="Send a welcome, if the subscription is new.")] = (
        False
    )


class ChangeBody(ProofBody):
    sections: Sections | None = None
    level: LevelName | None = None
    language: Language | None = None
    pause: Annotated[
        Annotated[Pause, Field(strict=False)] | None,
        Field(description="Send nothing but corrections for so long; `off`: send again."),
    ] = None
    mute: Annotated[StoryName | None, Field(description="Send no more of a story.")] = None
    unmute: Annotated[StoryName | None, Field(description="Send of a story again.")] = None


class MutedOut(BaseModel):
    story: Annotated[str, Field(examples=["story-12"])]
    title: Annotated[str, Field(description="What the story's newest alert says.")]


class Held(BaseModel):
    """What is held of a subscription, but for its keys and how its messages fare.

    No section stands for all of them. Among the sections can be some that are no longer offered.
    """

    sections: list[str]
    level: Annotated[str, Field(json_schema_extra={"enum": LEVELS})]
    language: str | None
    paused_until: datetime | None
    muted: list[MutedOut]
    push_service: str
    endpoint: str
    created_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, session: Session, row: Subscription) -> Self:
        paused_until = row.paused_until
        over = paused_until is None or paused_until <= now_of(session)
        return cls(
            sections=sections.slugs_of(session, row.sections),
            level=Level(row.level).name.lower(),
            language=row.language,
            paused_until=None if over else paused_until,
            muted=[
                MutedOut(story=topic_of(story_id), title=title)
                for story_id, title in subscriptions.muted_stories(session, row)
            ],
            push_service=row.push_service,
            endpoint=row.endpoint,
            created_at=row.created_at,
            last_seen_at=row.last_seen_at,
        )


class SubscriptionAnswer(BaseModel):
    subscription: Held


class OptInAnswer(SubscriptionAnswer):
    management_token: Annotated[
        str,
        Field(
            description="Proves ownership later; an earlier one that is not the same is void.",
            examples=[EXAMPLE_MANAGEMENT],
        ),
    ]
    was_gone: Annotated[
        bool,
        Field(
            description="The push service has called this endpoint gone. Unsubscribe in the "
            "browser, subscribe again, and send what that gives with `old`."
        ),
    ]


class SectionOut(BaseModel):
    slug: str
    name: str


class ConfigAnswer(BaseModel):
    """What a page needs to subscribe."""

    vapid_public_key: Annotated[
        str, Field(description="For `applicationServerKey`.", examples=[EXAMPLE_P256DH])
    ]
    publication: str
    language: Annotated[str, Field(description="The publication's own.", examples=["en"])]
    sections: list[SectionOut]
    hosts: Annotated[
        list[str],
        Field(
            description="Where alerts may lead besides the site itself; none: to any https host.",
            examples=[["www.example.com"]],
        ),
    ]
    counting: Annotated[
        bool, Field(description="Browsers report, unnamed, what was shown and clicked.")
    ]


class RecentAlert(BaseModel):
    """An alert as its notification says it."""

    alert: Annotated[str, Field(examples=["12"])]
    story: Annotated[str, Field(examples=["story-7"])]
    kind: AlertKind
    title: str
    body: str
    url: str
    image: str | None
    released_at: datetime

    @classmethod
    def of(cls, alert: Alert, language: str) -> Self:
        return cls(
            alert=str(alert.id),
            story=topic_of(alert.story_id),
            kind=alert.kind,
            title=title_of(alert.kind, alert.title, language),
            body=alert.body,
            url=alert.url,
            image=alert.image,
            released_at=alert.released_at,
        )


class RecentAnswer(BaseModel):
    alerts: list[RecentAlert]


def _as_stored(endpoint: str, policy: EndpointPolicy) -> str:
    try:
        return policy.check(endpoint).url
    except InvalidInput:
        # Its owner may still leave when the push service is no longer accepted.
        return endpoint


def _decoded(key: str, field: str) -> bytes:
    try:
        return endpoints.decode_key(key, field)
    except InvalidInput:
        return b""

"""What the API takes and answers: pydantic models, from which the OpenAPI document is made."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from notifier import endpoints, reports
from notifier.articles import ArticleContent, Published
from notifier.endpoints import EndpointPolicy
from notifier.errors import InvalidInput
from notifier.links import MAX_URL
from notifier.models import Alert, AlertKind, AlertState, Article, ArticleStatus
from notifier.subscriptions import BrowserSubscription, Proof
from web.api.fields import (
    EXAMPLE_AUTH,
    EXAMPLE_ENDPOINT,
    EXAMPLE_MANAGEMENT,
    EXAMPLE_P256DH,
    Auth,
    CheckedEndpoint,
    Language,
    Line,
    Moment,
    P256dh,
    Sections,
    Text,
    VapidKey,
)

LARGEST_REVISION = 2**31 - 1
LONGEST_ARTICLE_ID = 200


class Body(BaseModel):
    """What a request sends; a name that is not known is a mistake worth telling."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


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


class OptInBody(Body):
    subscription: PushSubscription
    sections: Sections | None = None
    language: Language | None = None
    vapid_public_key: VapidKey | None = None


class ProofBody(Body):
    """Proves that a subscription is the sender's: by token, or by `endpoint` and `auth`."""

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

    def proof(self, policy: EndpointPolicy) -> Proof:
        """The proof as the domain compares it; what cannot be decoded proves nothing."""
        return Proof(
            endpoint=None if self.endpoint is None else _as_stored(self.endpoint, policy),
            auth=None if self.auth is None else _decoded(self.auth),
            management_token=self.management_token,
        )


class ChangeBody(ProofBody):
    sections: Sections | None = None
    language: Language | None = None


class RenewBody(Body):
    old: Annotated[ProofBody, Field(description="Proof of the subscription that was replaced.")]
    subscription: PushSubscription
    vapid_public_key: VapidKey | None = None


class Choices(BaseModel):
    """What a reader has chosen. No section stands for all of them."""

    sections: list[str]
    language: str | None


class SubscriptionAnswer(BaseModel):
    subscription: Choices


class OptInAnswer(SubscriptionAnswer):
    management_token: Annotated[
        str,
        Field(
            description="Proves ownership later. It is told this once; an earlier one is void.",
            examples=[EXAMPLE_MANAGEMENT],
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
    sections: list[SectionOut]


class ArticleBody(Body):
    url: Annotated[
        Text,
        Field(
            max_length=MAX_URL,
            description="Where the alert leads.",
            examples=["https://www.example.com/2030/flood"],
        ),
    ]
    title: Annotated[
        Line,
        Field(max_length=300, examples=["River rises above its banks"]),
    ]
    status: ArticleStatus
    summary: Annotated[Text, Field(max_length=5_000)] = ""
    image: Annotated[Text, Field(max_length=MAX_URL)] | None = None
    sections: Annotated[
        list[Annotated[Text, Field(max_length=300)]],
        Field(
            max_length=50,
            description="Names or slugs; the alert goes to readers of any of them. "
            "None: to everybody.",
            examples=[["politics"]],
        ),
    ] = []
    breaking: Annotated[
        bool, Field(description="The first time with `published` it raises one alert.")
    ] = False
    published_at: Annotated[
        Moment | None, Field(description="With its time zone.", examples=["2030-01-31T12:00:00Z"])
    ] = None
    revision: Annotated[
        int | None,
        Field(
            ge=0,
            le=LARGEST_REVISION,
            description="A lower one than the stored one changes nothing.",
        ),
    ] = None

    def content(self) -> ArticleContent:
        return ArticleContent(
            url=self.url,
            title=self.title,
            status=self.status,
            summary=self.summary,
            image=self.image,
            sections=tuple(self.sections),
            breaking=self.breaking,
            published_at=self.published_at,
            revision=self.revision,
        )


class ArticleOut(BaseModel):
    id: str
    url: str
    title: str
    summary: str
    image: str | None
    sections: list[str]
    status: ArticleStatus
    breaking: bool
    published_at: datetime | None
    revision: int
    updated_at: datetime

    @classmethod
    def of(cls, article: Article) -> Self:
        return cls.model_validate(article, from_attributes=True)


class AlertRef(BaseModel):
    id: int
    state: AlertState


class PublishedAnswer(BaseModel):
    """The article as it stands, the alert that it has raised if any, and what to look at."""

    article: ArticleOut
    alert: AlertRef | None
    warnings: list[str]

    @classmethod
    def of(cls, published: Published) -> Self:
        alert = published.alert
        return cls(
            article=ArticleOut.of(published.article),
            alert=AlertRef(id=alert.id, state=alert.state) if alert else None,
            warnings=published.warnings,
        )


class Counts(BaseModel):
    """What became of the audience, which is the sum of all the others."""

    audience: int
    waiting: int
    accepted: Annotated[int, Field(description="Taken by the push service.")]
    gone: Annotated[int, Field(description="The push service no longer knows the endpoint.")]
    rejected: int
    expired: int
    left: Annotated[int, Field(description="Opted out or moved on before it was their turn.")]
    stopped: int
    superseded: int
    failed: int


class SecondsTo(BaseModel):
    """Seconds from the release until that per cent of the audience was accepted."""

    model_config = ConfigDict(
        validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    half: Annotated[float | None, Field(alias="50")]
    ninety: Annotated[float | None, Field(alias="90")]
    ninety_nine: Annotated[float | None, Field(alias="99")]


class AlertAnswer(BaseModel):
    id: int
    state: AlertState
    kind: AlertKind
    title: str
    planning: Annotated[bool, Field(description="The audience is still growing.")]
    released_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    counts: Counts
    seconds_to: SecondsTo

    @classmethod
    def of(cls, alert: Alert, progress: reports.Progress) -> Self:
        return cls(
            id=alert.id,
            state=progress.state,
            kind=alert.kind,
            title=alert.title,
            planning=progress.planning,
            released_at=alert.released_at,
            expires_at=alert.expires_at,
            ended_at=alert.ended_at,
            counts=Counts.model_validate(progress.counts),
            seconds_to=SecondsTo.model_validate(progress.seconds_to),
        )


class FieldProblem(BaseModel):
    field: Annotated[str, Field(examples=["subscription.keys.auth"])]
    message: Annotated[str, Field(examples=["The auth secret is not 16 bytes long."])]


class Problem(BaseModel):
    """What is wrong (RFC 9457)."""

    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


def _as_stored(endpoint: str, policy: EndpointPolicy) -> str:
    try:
        return policy.check(endpoint).url
    except InvalidInput:
        # Its owner may still leave when the push service is no longer accepted.
        return endpoint


def _decoded(auth: str) -> bytes:
    try:
        return endpoints.decode_key(auth, "auth")
    except InvalidInput:
        return b""

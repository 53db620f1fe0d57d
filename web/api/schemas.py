"""What the API takes and answers: pydantic models, from which the OpenAPI document is made."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)

from notifier import endpoints, reports
from notifier.articles import ArticleContent, Published
from notifier.endpoints import Endpoint, EndpointPolicy
from notifier.errors import InvalidInput
from notifier.links import MAX_URL
from notifier.models import Alert, AlertKind, AlertState, Article, ArticleStatus
from notifier.subscriptions import BrowserSubscription, Proof

LARGEST_REVISION = 2**31 - 1
LONGEST_ARTICLE_ID = 200
_NO_NUL = "^[^\\u0000]*$"


def _plain(text: str) -> str:
    # PostgreSQL cannot store it, and nobody who writes text means it.
    if "\0" in text:
        raise ValueError("The text contains a NUL character.")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("This must not be blank.")
    return text.strip()


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("Give the time zone too, as in 2030-01-31T12:00:00Z.")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("The time lies outside the years 1 to 9999.") from None


def _date_first(value: object) -> str:
    # Without this, a number, or text made of digits, would count as seconds since 1970.
    if not isinstance(value, str) or "-" not in value:
        raise ValueError("Give a date and time, as in 2030-01-31T12:00:00Z.")
    return value


def _key(field: str, check: Callable[[bytes], bytes]) -> BeforeValidator:
    def decode(value: object) -> bytes:
        if not isinstance(value, str):
            raise ValueError("This must be base64url text.")
        try:
            return check(endpoints.decode_key(value, field))
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    return BeforeValidator(decode)


def _endpoint(value: object, info: ValidationInfo) -> Endpoint:
    policy = cast("EndpointPolicy", info.context)
    if not isinstance(value, str):
        raise ValueError("This must be a URL.")
    try:
        return policy.check(value)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def _base64url(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "description": description, "examples": [example], "maxLength": 128}
    )


_EXAMPLE_P256DH = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
_EXAMPLE_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
_EXAMPLE_ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAAB…"
_EXAMPLE_PROOF = "aW4gdGhlIGV4YW1wbGUhIQ"

Text = Annotated[str, AfterValidator(_plain), Field(json_schema_extra={"pattern": _NO_NUL})]
Moment = Annotated[datetime, Strict(False), BeforeValidator(_date_first), AfterValidator(_utc)]
P256dh = Annotated[
    bytes,
    _key("p256dh", endpoints.check_p256dh),
    _base64url("The browser's public key: a point on P-256, 65 bytes.", _EXAMPLE_P256DH),
]
Auth = Annotated[
    bytes,
    _key("auth", endpoints.check_auth),
    _base64url("The browser's authentication secret, 16 bytes.", _EXAMPLE_AUTH),
]
VapidKey = Annotated[
    bytes,
    _key("vapid_public_key", endpoints.check_p256dh),
    _base64url(
        "The `applicationServerKey` that the browser subscribed with, when it is not the newest.",
        _EXAMPLE_P256DH,
    ),
]
CheckedEndpoint = Annotated[
    Endpoint,
    BeforeValidator(_endpoint),
    WithJsonSchema(
        {
            "type": "string",
            "format": "uri",
            "maxLength": endpoints.MAX_URL_LENGTH,
            "description": "An https URL of a browser's push service.",
            "examples": [_EXAMPLE_ENDPOINT],
        }
    ),
]
Sections = Annotated[
    list[Annotated[Text, Field(max_length=80)]],
    Field(
        max_length=62,
        description="Slugs or names of sections; none stands for all of them.",
        examples=[["politics", "sport"]],
    ),
]
Language = Annotated[
    str,
    Field(
        max_length=35,
        pattern="^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$",
        description="The reader's language (BCP 47).",
        examples=["en"],
    ),
]


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
            examples=[_EXAMPLE_PROOF],
        ),
    ] = None
    endpoint: Annotated[
        str | None,
        Field(max_length=endpoints.MAX_URL_LENGTH, examples=[_EXAMPLE_ENDPOINT]),
    ] = None
    auth: Annotated[str | None, Field(max_length=128, examples=[_EXAMPLE_AUTH])] = None

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
            examples=[_EXAMPLE_PROOF],
        ),
    ]


class SectionOut(BaseModel):
    slug: str
    name: str


class ConfigAnswer(BaseModel):
    """What a page needs to subscribe."""

    vapid_public_key: Annotated[
        str, Field(description="For `applicationServerKey`.", examples=[_EXAMPLE_P256DH])
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
        Text,
        AfterValidator(_not_blank),
        Field(min_length=1, max_length=300, examples=["River rises above its banks"]),
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

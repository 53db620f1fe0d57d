"""What the API takes and answers for the newsroom: pydantic models, as the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from notifier import reports
from notifier.articles import ArticleContent, Published
from notifier.links import MAX_URL
from notifier.models import Alert, AlertKind, AlertState, Article, ArticleStatus, topic_of
from web.api.fields import Line, Moment, Text

LARGEST_REVISION = 2**31 - 1
LONGEST_ARTICLE_ID = 200


class Body(BaseModel):
    """What a request sends; a name that is not known is a mistake worth telling."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


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
    major: Annotated[
        bool,
        Field(
            description="One of the biggest stories: its alert goes to readers too who want "
            "nothing else."
        ),
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
            major=self.major,
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
    major: bool
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


class FollowUpBody(Body):
    """What follows a story's newest alert."""

    kind: Annotated[
        Literal["update", "correction", "withdrawal"],
        Field(
            description="An `update` goes to readers who also want updates, or to all whom the "
            "alert before it was for if that is still going out; the others go to everybody who "
            "may have received an earlier alert of the story."
        ),
    ]
    title: Annotated[Line, Field(max_length=300, examples=["River falls again"])]
    body: Annotated[Text, Field(max_length=5_000)] = ""
    url: Annotated[
        Annotated[Text, Field(max_length=MAX_URL)] | None,
        Field(description="Where it leads. Without it, where the earlier alert does."),
    ] = None


class Counts(BaseModel):
    """What became of the audience, which is the sum of all the others."""

    audience: int
    waiting: int
    accepted: Annotated[int, Field(description="Taken by the push service.")]
    gone: Annotated[int, Field(description="The push service no longer knows the endpoint.")]
    rejected: int
    expired: int
    left: Annotated[
        int, Field(description="Opted out, chose otherwise or was gone before it was their turn.")
    ]
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
    story: Annotated[str, Field(examples=["story-7"])]
    newest: Annotated[
        int, Field(description="The story's newest alert: the one that can be followed up.")
    ]
    state: AlertState
    kind: AlertKind
    title: str
    planning: Annotated[bool, Field(description="The audience is still growing.")]
    released_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    counts: Counts
    seconds_to: SecondsTo
    planning_error: Annotated[
        str | None,
        Field(
            description="Why its readers could not be looked up. While it is `released` or "
            "`closing` that is tried again; in a final state the rest was never sent to and is "
            "not in the counts."
        ),
    ]

    @classmethod
    def of(cls, alert: Alert, newest: Alert, progress: reports.Progress) -> Self:
        return cls(
            id=alert.id,
            story=topic_of(alert.story_id),
            newest=newest.id,
            state=progress.state,
            kind=alert.kind,
            title=alert.title,
            planning=progress.planning,
            released_at=alert.released_at,
            expires_at=alert.expires_at,
            ended_at=alert.ended_at,
            counts=Counts.model_validate(progress.counts),
            seconds_to=SecondsTo.model_validate(progress.seconds_to),
            planning_error=alert.plan_error,
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

"""The kinds of values that the API takes, each with its checks and its JSON Schema."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)

from notifier import endpoints
from notifier.endpoints import Endpoint, EndpointPolicy
from notifier.errors import InvalidInput
from notifier.models import Level

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
    if not isinstance(value, str) or value[4:5] != "-":
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


def _level(value: object) -> Level:
    for level in Level:
        if value == level.name.lower():
            return level
    raise ValueError(f"Choose one of {', '.join(LEVELS)}.")


def _base64url(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "description": description, "examples": [example], "maxLength": 128}
    )


LEVELS = [level.name.lower() for level in Level]

EXAMPLE_P256DH = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
EXAMPLE_AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
EXAMPLE_ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAAB…"
EXAMPLE_MANAGEMENT = "aW4gdGhlIGV4YW1wbGUhIQ"

Text = Annotated[str, AfterValidator(_plain), Field(json_schema_extra={"pattern": _NO_NUL})]
Line = Annotated[Text, AfterValidator(_not_blank), Field(min_length=1)]
Moment = Annotated[datetime, Strict(False), BeforeValidator(_date_first), AfterValidator(_utc)]
P256dh = Annotated[
    bytes,
    _key("p256dh", endpoints.check_p256dh),
    _base64url("The browser's public key: a point on P-256, 65 bytes.", EXAMPLE_P256DH),
]
Auth = Annotated[
    bytes,
    _key("auth", endpoints.check_auth),
    _base64url("The browser's authentication secret, 16 bytes.", EXAMPLE_AUTH),
]
VapidKey = Annotated[
    bytes,
    _key("vapid_public_key", endpoints.check_p256dh),
    _base64url(
        "The `applicationServerKey` that the browser subscribed with, when it is not the newest.",
        EXAMPLE_P256DH,
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
            "examples": [EXAMPLE_ENDPOINT],
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
LevelName = Annotated[
    Level,
    BeforeValidator(_level),
    WithJsonSchema(
        {
            "type": "string",
            "enum": LEVELS,
            "description": "How much to send: only the `biggest` stories, all `breaking` news, or "
            "the `updates` of a story too.",
        }
    ),
]
StoryName = Annotated[
    str,
    Field(
        pattern="^story-[1-9][0-9]{0,17}$",
        description="A story, as notifications name it.",
        examples=["story-12"],
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

"""Settings, and the only place that reads them, from the environment and from `.env`."""

import os
import re
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import certifi
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from notifier.errors import InvalidInput
from notifier.push.vapid import check_subject

CommaSeparated = Annotated[tuple[str, ...], NoDecode]

PLACEHOLDER_SUBJECT = "mailto:newsroom@example.com"
SAMPLE_NAME = "The Daily Example"


_ONE_RATE = r"[1-9][0-9]{0,8} ?(per|/) ?([0-9]{1,4} ?)?(second|minute|hour|day|month|year)s?"
_RATE = re.compile(rf"{_ONE_RATE}( ?[,;|] ?{_ONE_RATE})*", re.IGNORECASE)


class Settings(BaseSettings):
    """What an operator can set, from the environment or `.env`; `docs/settings.md` lists them.

    Lists are comma-separated. The environment wins over `.env`.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    port: int = Field(8000, ge=1, le=65535, description="Port of the web app.")
    bind: str = Field("127.0.0.1", description="Address that the web app listens on.")
    public_url: str | None = Field(
        None,
        description="Where readers and editors reach this service from outside, such as "
        "`https://alerts.example.com`. Default: `http://localhost:PORT`.",
    )
    notifier_home: Path = Field(
        Path("var"), description="Folder of the embedded database, broker data, keys and secrets."
    )
    database_url: str | None = Field(
        None,
        description="`postgresql+psycopg://…` or `sqlite:///…`. Default: SQLite in NOTIFIER_HOME.",
    )
    redis_url: str | None = Field(
        None, description="Redis or Valkey of yours. When set, no embedded broker is started."
    )
    broker_port: int = Field(
        6390, ge=1, le=65535, description="Port of the embedded broker, on 127.0.0.1 only."
    )
    worker_processes: int = Field(
        2, ge=1, le=64, description="Celery worker processes: how many batches go out at once."
    )
    web_processes: int = Field(1, ge=1, le=64, description="Processes that answer web requests.")
    web_threads: int = Field(8, ge=1, le=256, description="Threads in each of them.")
    send_concurrency: int = Field(
        800,
        ge=1,
        le=1000,
        description="Most requests to push services in flight, per worker process. It starts with "
        "100, and takes more where the way is long and that makes it faster.",
    )
    first_editor: str = Field(
        "editor@example.com", description="Who gets the first one-time sign-in to the newsroom."
    )
    publication_name: str = Field(
        SAMPLE_NAME, min_length=1, max_length=80, description="As readers know it."
    )
    publication_language: str = Field(
        "en",
        pattern="^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$",
        max_length=35,
        description="The language that it is written in (BCP 47), such as `fr`.",
    )
    sections: CommaSeparated = Field(
        ("Politics", "World", "Business", "Sport", "Culture"),
        description="The sections that readers can choose.",
    )
    vapid_subject: str = Field(
        PLACEHOLDER_SUBJECT,
        description="`mailto:` or `https:` address where push services reach you (RFC 8292).",
    )
    allowed_origins: CommaSeparated = Field(
        (), description="Sites that may embed the prompt, such as `https://www.example.com`."
    )
    article_hosts: CommaSeparated = Field(
        (), description="Hosts that an alert may link to. Empty: any https host."
    )
    tag_links: bool = Field(
        True,
        description="Whether alerts' links to your own sites carry `utm_source=notifier`, "
        "`utm_medium=push` and `utm_campaign=alert-ID` for your analytics.",
    )
    extra_push_origins: CommaSeparated = Field(
        (),
        description="Push service origins accepted besides the browsers' own, such as "
        "`http://localhost:9999` for development.",
    )
    push_connect_to: CommaSeparated = Field(
        (),
        description="Development only: `HOST:PORT:ADDRESS:PORT` reroutes to a push service.",
    )
    push_ca_file: Path | None = Field(
        None, description="Certificate authority to trust instead of the built-in ones."
    )
    alert_validity: timedelta = Field(
        timedelta(hours=4),
        description="How long an alert may still be delivered, from a minute to seven days: ISO "
        "8601 (`PT4H`) or seconds.",
    )
    count_reactions: bool = Field(
        True,
        description="Whether browsers report, unnamed, that an alert was shown or opened.",
    )
    forget_unseen_after: timedelta = Field(
        timedelta(days=365),
        description="A subscription whose browser has not been heard of for so long is deleted: "
        "from 30 to 3650 days, as ISO 8601 (`P365D`) or days.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="Reverse proxies in front of the web app; they set X-Forwarded-For and -Proto.",
    )
    opt_in_rate: str = Field(
        "300 per minute", description="Opt-ins accepted from one client address."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Form of the log lines: `text` or `json`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="The least severe log lines that are written: `debug`, `info`, `warning` or "
        "`error`.",
    )

    @field_validator(
        "sections",
        "allowed_origins",
        "article_hosts",
        "extra_push_origins",
        "push_connect_to",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_origins", "extra_push_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(text) for text in value)

    @field_validator("article_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if "/" in host or "@" in host:
                raise ValueError(f"{host!r} is not a host; write it without https:// and path")
        return tuple(host.lower() for host in value)

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        # The URL itself is not said again: it holds a password.
        if value and not value.startswith(("postgresql+psycopg://", "sqlite:///")):
            raise ValueError(
                "write it as postgresql+psycopg://user:password@host/name or sqlite:////path/to/file"
            )
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str | None) -> str | None:
        return None if not value else _origin(value)

    @field_validator("vapid_subject")
    @classmethod
    def _subject(cls, value: str) -> str:
        try:
            return check_subject(value)
        except InvalidInput as error:
            raise ValueError(str(error)) from error

    @field_validator("opt_in_rate")
    @classmethod
    def _rate(cls, value: str) -> str:
        # What cannot be read would be no limit at all.
        if not _RATE.fullmatch(value):
            raise ValueError("write it as `300 per minute`; also second, hour and day can be named")
        return value

    @field_validator("alert_validity", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.strip().isdecimal() else value

    @field_validator("alert_validity")
    @classmethod
    def _validity(cls, value: timedelta) -> timedelta:
        if not timedelta(minutes=1) <= value <= timedelta(days=7):
            raise ValueError("must lie between one minute and seven days")
        return value

    @field_validator("forget_unseen_after", mode="before")
    @classmethod
    def _days(cls, value: object) -> object:
        is_days = isinstance(value, str) and value.strip().isdecimal()
        return timedelta(days=int(str(value))) if is_days else value

    @field_validator("forget_unseen_after")
    @classmethod
    def _unseen(cls, value: timedelta) -> timedelta:
        if not timedelta(days=30) <= value <= timedelta(days=3650):
            raise ValueError("must lie between 30 and 3650 days")
        return value

    @property
    def home(self) -> Path:
        return self.notifier_home.resolve()

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'notifier.sqlite3'}"

    @property
    def ca_file(self) -> Path:
        """The certificate authorities that push services are held against."""
        return self.push_ca_file or Path(certifi.where())

    @property
    def base_url(self) -> str:
        """Where this service is reached from outside, without a trailing slash."""
        return self.public_url or f"http://localhost:{self.port}"

    @property
    def home_page(self) -> str:
        """The publication's own site: the first that may embed the prompt."""
        return self.allowed_origins[0] if self.allowed_origins else self.base_url

    @property
    def tagged_hosts(self) -> tuple[str, ...]:
        """The hosts whose links are tagged for analytics: those of the newsroom's own sites."""
        own = [urlsplit(origin).netloc for origin in (*self.allowed_origins, self.base_url)]
        return (*self.article_hosts, *own) if self.tag_links else ()

    @property
    def warnings(self) -> list[str]:
        """What an operator should know before readers depend on these settings."""
        found = [
            f"EXTRA_PUSH_ORIGINS accepts {origin}, which is not encrypted: for development only."
            for origin in self.extra_push_origins
            if origin.startswith("http://")
        ]
        if self.base_url.startswith("https://") and not self.trusted_proxies:
            found.append(
                "TRUSTED_PROXIES is 0, though https needs a proxy: all readers have its address, "
                "and share one rate limit. Count the proxies in front."
            )
        if self.push_connect_to:
            found.append("PUSH_CONNECT_TO reroutes push messages: for development only.")
        if self.vapid_subject == PLACEHOLDER_SUBJECT:
            found.append(
                "VAPID_SUBJECT is a placeholder: set it to an address that your newsroom reads."
            )
        return found


def _origin(text: str) -> str:
    """`scheme://host[:port]` in the form in which browsers write an origin (RFC 6454)."""
    parts = urlsplit(text.rstrip("/"))
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username is not None
    ):
        raise ValueError(f"{text!r} is not an origin such as https://www.example.com")
    default_port = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, default_port) else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment in which another process reads exactly these settings."""
    environment = dict(os.environ)
    for name, value in settings.model_dump(mode="json").items():
        environment[name.upper()] = _text(value)
    return environment


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ",".join(value) if isinstance(value, list) else str(value)

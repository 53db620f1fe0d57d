"""An alert before it is sent: what the editor typed, and the promise that it goes out once."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Self
from urllib.parse import urlencode

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from notifier import alerts, sections
from notifier.db import now_of
from notifier.errors import InvalidInput
from notifier.links import LinkPolicy
from notifier.models import Alert, Story

LONGEST_TITLE = 200
LONGEST_BODY = 500
REVIEW_IS_VALID_FOR = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class AlertText:
    """An alert as the form has it; `sections` are slugs, none stands for everybody."""

    title: str = ""
    body: str = ""
    url: str = ""
    sections: tuple[str, ...] = ()

    @classmethod
    def sent(cls) -> Self:
        """What the request's form says."""
        return cls.of(request.form)

    @classmethod
    def of(cls, values: MultiDict[str, str]) -> Self:
        return cls(
            title=_one_line(values.get("title", "")),
            body=_one_line(values.get("body", "")),
            url=values.get("url", "").strip(),
            sections=tuple(values.getlist("sections")),
        )

    def as_query(self) -> str:
        """The query of a URL from which `of` makes the same text."""
        return urlencode(asdict(self), doseq=True)

    def section_bits(self, session: Session) -> int:
        """Raises InvalidInput for a section that readers cannot choose."""
        return sections.choice_bits(session, self.sections)

    def checked(
        self, session: Session, links: LinkPolicy
    ) -> tuple[alerts.Draft | None, dict[str, str]]:
        """The draft that can be released, or what is wrong with each field."""
        wrong: dict[str, str] = {}
        if not self.title:
            wrong["title"] = "Write a headline."
        elif len(self.title) > LONGEST_TITLE:
            wrong["title"] = f"Shorten the headline to {LONGEST_TITLE} characters."
        if len(self.body) > LONGEST_BODY:
            wrong["body"] = f"Shorten the text to {LONGEST_BODY} characters."
        url, bits = self.url, 0
        try:
            url = links.check(self.url) if self.url else ""
            bits = self.section_bits(session)
        except InvalidInput as error:
            wrong[error.field or "url"] = str(error)
        if not self.url:
            wrong["url"] = "Paste the link of the article."
        if wrong:
            return None, wrong
        return alerts.Draft(title=self.title, body=self.body, url=url, section_bits=bits), {}


def open_review(session: Session) -> str:
    """A token that lets one alert be sent.

    It stands for a story without alerts, made here: whoever sends locks the story and looks
    whether it has an alert by now. So of two clicks at the same moment, or of a page that is
    sent again, exactly one releases an alert, whichever process gets it.
    """
    story = Story(created_at=now_of(session))
    session.add(story)
    session.flush()
    return _serializer().dumps(story.id)


def story_of(token: str) -> int:
    """The story that a token stands for. Raises InvalidInput when it is forged or too old."""
    try:
        story_id = _serializer().loads(token, max_age=int(REVIEW_IS_VALID_FOR.total_seconds()))
    except BadSignature:
        raise InvalidInput("This review is too old. Look at the alert once more.") from None
    return int(story_id)


def already_sent(session: Session, story_id: int) -> Alert | None:
    """The alert that has been sent for a review; others who ask wait until the commit."""
    session.execute(select(Story.id).where(Story.id == story_id).with_for_update()).one()
    query = select(Alert).where(Alert.story_id == story_id).order_by(Alert.id).limit(1)
    return session.scalars(query).one_or_none()


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="newsroom-review")


def _one_line(text: str) -> str:
    """Text as a notification can show it: single spaces, no control characters."""
    words = " ".join(text.split())
    return "".join(character for character in words if character.isprintable())

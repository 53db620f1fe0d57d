"""An alert before it is sent: what the editor typed, and the promise that it goes out once."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self
from urllib.parse import urlencode

from flask import current_app, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from notifier import follow_ups, sections
from notifier.alerts import Draft
from notifier.audience import Audience
from notifier.db import now_of, upsert
from notifier.errors import InvalidInput
from notifier.links import LinkPolicy
from notifier.models import Alert, AlertKind, Level, Story

LONGEST_TITLE = 200
LONGEST_BODY = 500
REVIEW_IS_VALID_FOR = timedelta(hours=12)

Wrong = dict[str, str]
"""What is wrong, by the name of the field."""


@dataclass(frozen=True, slots=True)
class AlertText:
    """An alert as the form has it; `sections` are slugs, none stands for everybody."""

    title: str = ""
    body: str = ""
    url: str = ""
    sections: tuple[str, ...] = ()
    biggest: bool = False

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
            biggest="biggest" in values,
        )

    def as_query(self) -> str:
        """The query of a URL from which `of` makes the same text."""
        values = {"title": self.title, "body": self.body, "url": self.url}
        biggest = {"biggest": "yes"} if self.biggest else {}
        return urlencode(values | {"sections": self.sections} | biggest, doseq=True)

    @property
    def level(self) -> Level:
        return Level.BIGGEST if self.biggest else Level.BREAKING

    def section_bits(self, session: Session) -> int:
        """Raises InvalidInput for a section that readers cannot choose."""
        return sections.choice_bits(session, self.sections)

    def audience(self, session: Session) -> Audience:
        """Whom it would go to. Raises InvalidInput like `section_bits`."""
        return Audience(self.section_bits(session), self.level)

    def checked(self, session: Session, links: LinkPolicy) -> tuple[Draft | None, Wrong]:
        """The draft that can be released, or what is wrong with each field."""
        url, wrong = self._checked_words(links)
        bits = 0
        try:
            bits = self.section_bits(session)
        except InvalidInput as error:
            wrong["sections"] = str(error)
        if wrong:
            return None, wrong
        draft = Draft(
            title=self.title, body=self.body, url=url, section_bits=bits, level=self.level
        )
        return draft, {}

    def checked_after(
        self, alert: Alert, kind: AlertKind, links: LinkPolicy
    ) -> tuple[Draft | None, Wrong]:
        """The draft that can follow an alert, or what is wrong. Raises Conflict."""
        url, wrong = self._checked_words(links)
        if wrong:
            return None, wrong
        words = {"title": self.title, "body": self.body, "url": url}
        return follow_ups.draft_after(alert, kind, **words), {}

    def _checked_words(self, links: LinkPolicy) -> tuple[str, Wrong]:
        """The link as it goes out, and what is wrong with link, headline and text."""
        wrong: Wrong = {}
        if not self.title:
            wrong["title"] = "Write a headline."
        elif len(self.title) > LONGEST_TITLE:
            wrong["title"] = f"Shorten the headline to {LONGEST_TITLE} characters."
        if len(self.body) > LONGEST_BODY:
            wrong["body"] = f"Shorten the text to {LONGEST_BODY} characters."
        if not self.url:
            wrong["url"] = "Paste the link of the article."
            return "", wrong
        try:
            return links.check(self.url), wrong
        except InvalidInput as error:
            wrong["url"] = str(error)
            return "", wrong


def open_review(session: Session) -> str:
    """A token that lets one alert be sent.

    It stands for a story whose id is taken here and used by nobody else, as ids are never given
    twice; the story itself is made when its alert is sent, so an alert that was thought better
    of leaves nothing behind.
    """
    story = Story(created_at=now_of(session))
    session.add(story)
    session.flush()
    session.delete(story)
    return _serializer().dumps(story.id)


def story_of(token: str) -> int:
    """The story that a token stands for. Raises InvalidInput when it is forged or too old."""
    try:
        story_id = _serializer().loads(token, max_age=int(REVIEW_IS_VALID_FOR.total_seconds()))
    except BadSignature:
        raise InvalidInput("This review is too old. Look at the alert once more.") from None
    return int(story_id)


def hold(session: Session, story_id: int) -> None:
    """Make a review's story, if need be, and hold it against others until the commit.

    So of two clicks at the same moment, or of a page that is sent again, exactly one finds that
    nothing has been sent, whichever process gets it.
    """
    session.execute(
        upsert(session, Story)
        .values(id=story_id, created_at=now_of(session))
        .on_conflict_do_nothing(index_elements=[Story.id])
    )
    session.execute(select(Story.id).where(Story.id == story_id).with_for_update()).one()


def already_sent(session: Session, story_id: int) -> Alert | None:
    """The alert that has been sent for a review."""
    query = select(Alert).where(Alert.story_id == story_id).order_by(Alert.id).limit(1)
    return session.scalars(query).one_or_none()


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="newsroom-review")


def _one_line(text: str) -> str:
    """Text as a notification can show it: single spaces, no control characters."""
    words = " ".join(text.split())
    return "".join(character for character in words if character.isprintable())

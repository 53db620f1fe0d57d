"""Following an alert up: an update, a correction or a withdrawal; write, review, send."""

from dataclasses import dataclass

from flask import flash, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from notifier import alerts, follow_ups, reached, reports
from notifier.errors import Conflict
from notifier.follow_ups import FollowedAlready
from notifier.jobs import Job
from notifier.models import Alert, AlertKind, AlertState
from notifier.notification import title_of
from notifier.phrases import phrases_of
from web.newsroom import sessions
from web.newsroom.blueprint import blueprint
from web.newsroom.drafts import LONGEST_BODY, LONGEST_TITLE, AlertText, Wrong
from web.services import services

_PATH = "/alerts/<int:alert_id>/<any(update, correction, withdrawal):kind>"

_TITLE = "{title}"  # stands for what the editor types, in the preview


@dataclass(frozen=True, slots=True)
class Audience:
    """Whom a follow-up goes to, and who will not get the alert that it takes the place of.

    `size` is exact for an update, and for the others unless `at_most`; `waiting` still wait for
    the earlier alert, which is `under_way` and would be ended.
    """

    size: int
    at_most: bool
    waiting: int
    under_way: bool


@blueprint.get(_PATH)
def follow_up(alert_id: int, kind: str) -> Response:
    """The form, with the alert's own text or with what the editor has written before."""
    wanted = AlertKind(kind)
    with services().db.read() as session:
        after = alerts.get(session, alert_id)
        if "title" in request.args:
            return _compose(after, wanted, AlertText.of(request.args))
        try:
            follow_ups.check_newest(session, after)
        except FollowedAlready as error:
            flash(str(error), "problem")
            return redirect(url_for("newsroom.alert", alert_id=error.newest_id), 303)
    return _compose(after, wanted, _prefilled(after, wanted))


@blueprint.post(f"{_PATH}/edit")
def edit_follow_up(alert_id: int, kind: str) -> Response:
    """Back from the review, with the text as it was."""
    with services().db.read() as session:
        after = alerts.get(session, alert_id)
    return _compose(after, AlertKind(kind), AlertText.sent())


@blueprint.post(f"{_PATH}/review")
def review_follow_up(alert_id: int, kind: str) -> Response:
    """Exactly what would go out, and to whom; nothing is sent yet."""
    text, wanted = AlertText.sent(), AlertKind(kind)
    with services().db.read() as session:
        after = alerts.get(session, alert_id)
        try:
            follow_ups.check_newest(session, after)
            draft, wrong = text.checked_after(after, wanted, services().links)
        except Conflict as error:
            return _refused(after, wanted, text, error)
        if draft is None:
            return _compose(after, wanted, text, wrong=wrong)
        audience = _audience(session, after, draft)
    page = render_template(
        "newsroom/review_follow_up.html",
        after=after,
        kind=wanted,
        draft=draft,
        shown_title=title_of(wanted, draft.title, services().settings.publication_language),
        text=text,
        audience=audience,
        validity=follow_ups.validity_of(draft, services().settings.alert_validity),
    )
    return make_response(page)


@blueprint.post(_PATH)
def send_follow_up(alert_id: int, kind: str) -> Response:
    """Release a reviewed follow-up, once however often it is asked for."""
    text, wanted, editor = AlertText.sent(), AlertKind(kind), sessions.required()
    with services().db.read() as session:
        after = alerts.get(session, alert_id)
    try:
        draft, wrong = text.checked_after(after, wanted, services().links)
        if draft is None:
            return _compose(after, wanted, text, wrong=wrong)
        with services().db.write() as session:
            alert, released = follow_ups.release(
                session,
                after,
                draft,
                validity=services().settings.alert_validity,
                released_by=editor.email,
                count_reactions=services().settings.count_reactions,
            )
    except Conflict as error:
        return _refused(after, wanted, text, error)
    if released:
        services().queue.ring(Job.DELIVER)
        flash(f"Your {wanted} is on its way.", "done")
    else:
        flash(f"This {wanted} had been sent already. It was not sent a second time.", "done")
    return redirect(url_for("newsroom.alert", alert_id=alert.id), 303)


def _prefilled(after: Alert, kind: AlertKind) -> AlertText:
    if kind == AlertKind.WITHDRAWAL:
        phrases = phrases_of(services().settings.publication_language)
        return AlertText(phrases.withdrawn_title, phrases.withdrawn_body, after.url)
    if after.kind == AlertKind.WITHDRAWAL:
        return AlertText(url=after.url)
    # A CMS may have sent more than an editor can, and than any browser shows.
    return AlertText(after.title[:LONGEST_TITLE], after.body[:LONGEST_BODY], after.url)


def _refused(after: Alert, kind: AlertKind, text: AlertText, error: Conflict) -> Response:
    """The form again, for what the story has come to; nothing was sent."""
    newest = after
    if isinstance(error, FollowedAlready):
        with services().db.read() as session:
            newest = alerts.get(session, error.newest_id)
    if not follow_ups.may_follow(newest, kind):
        flash(f"{error} Nothing was sent.", "problem")
        return redirect(url_for("newsroom.alert", alert_id=newest.id), 303)
    return _compose(newest, kind, text, problem=str(error))


def _compose(
    after: Alert,
    kind: AlertKind,
    text: AlertText,
    *,
    wrong: Wrong | None = None,
    problem: str | None = None,
) -> Response:
    with services().db.read() as session:
        try:
            follow_ups.check_newest(session, after)
            draft = follow_ups.draft_after(after, kind, title="", body="", url="")
        except Conflict as error:
            return _refused(after, kind, text, error)
        audience = _audience(session, after, draft)
    page = render_template(
        "newsroom/follow_up.html",
        after=after,
        kind=kind,
        text=text,
        mark=title_of(kind, _TITLE, services().settings.publication_language),
        audience=audience,
        wrong=wrong or {},
        problem=problem,
        longest_title=LONGEST_TITLE,
        longest_body=LONGEST_BODY,
    )
    return make_response(page, 409 if problem else 422 if wrong else 200)


def _audience(session: Session, after: Alert, draft: alerts.Draft) -> Audience:
    before = reports.progress(session, after)
    is_ended = draft.kind.corrects or not after.kind.corrects
    size = follow_ups.audience_size(session, draft, after.story_id)
    return Audience(
        size=size,
        at_most=draft.kind.corrects and after.revision > 1 and size > reached.EXACT_UP_TO,
        waiting=before.counts["waiting"],
        under_way=is_ended and before.state == AlertState.RELEASED,
    )

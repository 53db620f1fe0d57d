"""Raising an alert: write, review, send."""

from datetime import timedelta

from flask import flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from notifier import alerts, audience
from notifier import sections as sections_
from notifier.errors import InvalidInput
from notifier.jobs import Job
from web.newsroom import drafts, sessions
from web.newsroom.alerts import home_page
from web.newsroom.blueprint import blueprint
from web.newsroom.drafts import AlertText
from web.services import services

SAME_LINK_WITHIN = timedelta(days=1)


@blueprint.get("/audience")
def audience_size() -> str:
    """How many readers the ticked sections reach, while the form is being filled in."""
    text = AlertText.of(request.args)
    with services().db.read() as session:
        size = audience.size(session, text.audience(session))
    return render_template("newsroom/_audience.html", size=size)


@blueprint.post("/alerts/edit")
def edit() -> Response:
    """Back from the review, with the text as it was."""
    return make_response(home_page(AlertText.sent()))


@blueprint.post("/alerts/review")
def review() -> Response:
    """Exactly what would go out, and to how many; nothing is sent yet."""
    return _review(AlertText.sent())


@blueprint.post("/alerts")
def send() -> Response:
    """Release a reviewed alert, once however often it is asked for."""
    text = AlertText.sent()
    editor = sessions.required()
    try:
        story_id = drafts.story_of(request.form.get("review", ""))
    except InvalidInput as error:
        return _review(text, problem=str(error))
    with services().db.write() as session:
        draft, wrong = text.checked(session, services().links)
        if draft is not None:
            drafts.hold(session, story_id)
        alert = drafts.already_sent(session, story_id)
        released = alert is None and draft is not None
        if alert is None and draft is not None:
            alert = alerts.release(
                session,
                draft,
                validity=services().settings.alert_validity,
                released_by=editor.email,
                count_reactions=services().settings.count_reactions,
                story_id=story_id,
            )
    if alert is None:
        return make_response(home_page(text, wrong=wrong), 422)
    if released:
        services().queue.ring(Job.DELIVER)
        flash("Your alert is on its way.", "done")
    else:
        flash("This alert had been sent already. It was not sent a second time.", "done")
    return redirect(url_for("newsroom.alert", alert_id=alert.id), 303)


def _review(text: AlertText, problem: str | None = None) -> Response:
    with services().db.read() as session:
        draft, wrong = text.checked(session, services().links)
        offered = {section.slug: section.name for section in sections_.offered(session)}
        if draft is None:
            return make_response(home_page(text, wrong=wrong), 422)
        size = audience.size(session, draft.audience)
        same_link = alerts.with_link(session, draft.url, within=SAME_LINK_WITHIN)
    with services().db.write() as session:
        token = drafts.open_review(session)
    page = render_template(
        "newsroom/review.html",
        text=text,
        draft=draft,
        token=token,
        size=size,
        sections=", ".join(offered[slug] for slug in offered if slug in text.sections),
        validity=services().settings.alert_validity,
        same_link=same_link,
        problem=problem,
    )
    return make_response(page, 409 if problem else 200)

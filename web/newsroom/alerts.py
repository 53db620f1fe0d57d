"""Watching alerts go out, and stopping them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flask import Response, flash, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from notifier import alerts, articles, audience, follow_ups, push_services, reactions, reports
from notifier import sections as sections_
from notifier.errors import Conflict
from notifier.models import Alert, AlertState, Level
from notifier.reports import Progress
from web.newsroom.blueprint import blueprint
from web.newsroom.drafts import LONGEST_BODY, LONGEST_TITLE, AlertText
from web.services import services

ALERTS_SHOWN = 8
ARTICLES_SHOWN = 10

_STATES = {
    AlertState.RELEASED: "Sending",
    AlertState.FINISHED: "Finished",
    AlertState.STOPPED: "Stopped",
    AlertState.SUPERSEDED: "Superseded",
    AlertState.EXPIRED: "Expired",
    AlertState.FAILED: "Failed",
}


@dataclass(frozen=True, slots=True)
class AlertCard:
    """An alert and where it stands, as the pages show it."""

    alert: Alert
    progress: Progress
    sections: str

    @property
    def is_open(self) -> bool:
        return not AlertState(self.alert.state).final

    @property
    def can_be_stopped(self) -> bool:
        return self.alert.state == AlertState.RELEASED

    @property
    def state(self) -> str:
        if self.alert.state == AlertState.CLOSING:
            return "Stopping" if self.alert.closing_as == AlertState.STOPPED else "Ending"
        if self.can_be_stopped and self.progress.planning and not self.progress.counts["accepted"]:
            return "Starting"
        return _STATES[AlertState(self.alert.state)]

    @property
    def is_major(self) -> bool:
        return self.alert.level == Level.BIGGEST

    @property
    def served(self) -> int:
        """How many the bar counts: an alert that was ended early keeps the bar that it had."""
        counts = self.progress.counts
        unserved = ("waiting", "stopped", "superseded", "expired")
        return counts["audience"] - sum(counts[name] for name in unserved)

    @property
    def others(self) -> dict[str, int]:
        """What became of those who neither got it nor are waiting."""
        main = ("audience", "waiting", "accepted")
        return {name: n for name, n in self.progress.counts.items() if name not in main}


def home_page(text: AlertText, wrong: dict[str, str] | None = None) -> str:
    """The newsroom's home page, with `text` in the form and what is `wrong` with its fields."""
    with services().db.read() as session:
        offered = sections_.offered(session)
        slugs = {section.slug for section in offered}
        known = replace(text, sections=tuple(slug for slug in text.sections if slug in slugs))
        shown = articles.latest(session, ARTICLES_SHOWN)
        return render_template(
            "newsroom/home.html",
            cards=_cards(session, alerts.latest(session, ALERTS_SHOWN)),
            articles=[(article, articles.alert_of(session, article.id)) for article in shown],
            sections=offered,
            size=audience.size(session, known.audience(session)),
            text=text,
            wrong=wrong or {},
            longest_title=LONGEST_TITLE,
            longest_body=LONGEST_BODY,
        )


@blueprint.get("/")
def home() -> str:
    return home_page(AlertText.of(request.args))


@blueprint.get("/alerts/latest")
def latest_alerts() -> Response:
    """The list of alerts, when there is a newer one than the page has."""
    with services().db.read() as session:
        newest = alerts.latest(session, 1)
        if not newest or newest[0].id == request.args.get("newest", type=int):
            return make_response("", 204)
        cards = _cards(session, alerts.latest(session, ALERTS_SHOWN))
    return make_response(render_template("newsroom/_alerts.html", cards=cards))


@blueprint.get("/articles/latest")
def latest_articles() -> str:
    with services().db.read() as session:
        shown = articles.latest(session, ARTICLES_SHOWN)
        rows = [(article, articles.alert_of(session, article.id)) for article in shown]
    return render_template("newsroom/_articles.html", articles=rows)


@blueprint.get("/alerts/<int:alert_id>")
def alert(alert_id: int) -> str:
    """An alert by itself, with everything that is known about it."""
    with services().db.read() as session:
        shown = alerts.get(session, alert_id)
        story = _cards(session, follow_ups.of_story(session, shown.story_id))
        total = reactions.reported(session, [shown]).get(alert_id)
        by_browser = reports.reactions_by_browser(session, shown)
        dropped = push_services.dropped(session, alert_id)
    return render_template(
        "newsroom/alert.html",
        card=next(card for card in story if card.alert.id == alert_id),
        story=story,
        total=total,
        by_browser=by_browser,
        dropped=dropped,
        offers=[kind for kind in follow_ups.KINDS if follow_ups.may_follow(shown, kind)],
    )


@blueprint.get("/alerts/<int:alert_id>/progress")
def progress(alert_id: int) -> str:
    """How an alert is getting on, for a page that is already open."""
    detailed = "detailed" in request.args
    return render_template(
        "newsroom/_progress.html", card=_card(alert_id), detailed=detailed, polled=True
    )


@blueprint.post("/alerts/<int:alert_id>/stop")
def stop(alert_id: int) -> BaseResponse:
    """Send an alert to nobody else, and say how many have it already."""
    try:
        with services().db.write() as session:
            stopped = alerts.stop(session, alert_id)
            accepted = reports.progress(session, stopped).counts["accepted"]
    except Conflict as error:
        flash(f"{error} There was nothing left to stop.", "problem")
    else:
        flash(_what_was_stopped(accepted, stopped.state), "done")
    return redirect(url_for("newsroom.alert", alert_id=alert_id), 303)


def _what_was_stopped(accepted: int, state: AlertState) -> str:
    had_it = f"{accepted:,} reader{' has' if accepted == 1 else 's have'}"
    if state == AlertState.CLOSING:
        return f"Stopping. {had_it} it already; what is on its way this second may add a few."
    return f"Stopped. {had_it} it already, and nobody else will get it."


def _card(alert_id: int) -> AlertCard:
    with services().db.read() as session:
        return _cards(session, [alerts.get(session, alert_id)])[0]


def _cards(session: Session, shown: Sequence[Alert]) -> list[AlertCard]:
    progress = reports.progress_of(session, shown)
    offered = sections_.offered(session)
    return [
        AlertCard(
            alert,
            progress[alert.id],
            _section_names(
                [section.name for section in offered if alert.sections >> section.id & 1],
                everybody=not alert.sections,
            ),
        )
        for alert in shown
    ]


def _section_names(names: Sequence[str], *, everybody: bool) -> str:
    if everybody:
        return "Everybody"
    return ", ".join(names) or "Readers who chose no section"

"""The newsroom's blueprint, and what holds for all of its pages."""

from typing import Any

from flask import Blueprint
from flask.blueprints import BlueprintSetupState

from web.services import services

blueprint = Blueprint("newsroom", __name__, url_prefix="/newsroom")


@blueprint.record_once
def _configure(state: BlueprintSetupState) -> None:
    state.app.config.update(
        # A form works as long as the session: editors keep the page open all day.
        WTF_CSRF_TIME_LIMIT=None,
        # An answer to a poll that overtakes a sign-out must not bring the old cookie back.
        SESSION_REFRESH_EACH_REQUEST=False,
    )


@blueprint.app_context_processor
def _publication() -> dict[str, Any]:
    return {"publication": services().settings.publication_name}


@blueprint.app_template_filter("grouped")
def _grouped(number: int) -> str:
    """12345 as 12,345."""
    return f"{number:,}"


@blueprint.app_template_filter("readers")
def _readers(number: int) -> str:
    return f"{number:,} reader{'' if number == 1 else 's'}"


@blueprint.app_template_filter("duration")
def _duration(seconds: float | None) -> str:
    """A number of seconds as people read it; a dash while it is not known."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"

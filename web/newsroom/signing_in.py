"""Coming in and going out: password, one-time link, sign-out, and the door in front of the rest."""

from datetime import timedelta
from typing import Any

from flask import (
    Response,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_wtf.csrf import CSRFError
from werkzeug.wrappers import Response as BaseResponse

from notifier import editors
from notifier.errors import InvalidInput, NotFound
from web.newsroom import sessions
from web.newsroom.blueprint import blueprint
from web.newsroom.drafts import AlertText
from web.security import limiter
from web.services import services

_WITHOUT_SESSION = {"newsroom.sign_in", "newsroom.welcome"}
_WITH_TEXT = {"newsroom.edit", "newsroom.review", "newsroom.send"}
_FOLLOWING_UP = {f"{endpoint}_follow_up" for endpoint in _WITH_TEXT}

# htmx stops polling when an answer has this status.
_STOP_POLLING = 286


def _has_failed(response: Response) -> bool:
    return response.status_code >= 400


@blueprint.before_request
def require_editor() -> BaseResponse | None:
    """Let nobody but editors in; a poll is answered in its place, so that no text is lost."""
    if request.endpoint in _WITHOUT_SESSION or sessions.current() is not None:
        return None
    if "HX-Request" in request.headers:
        return make_response(render_template("newsroom/_signed_out.html"), _STOP_POLLING)
    if request.method == "GET":
        wanted = request.full_path.rstrip("?")
        return redirect(url_for("newsroom.sign_in", next=wanted), 303)
    return _session_has_ended()


@blueprint.context_processor
def _for_all_pages() -> dict[str, Any]:
    return {"editor": sessions.current(), "page_with_text": _page_with_text}


@blueprint.route("/sign-in", methods=["GET", "POST"])
@limiter.limit("10 per minute; 100 per hour", methods=["POST"], deduct_when=_has_failed)
def sign_in() -> BaseResponse:
    if request.method == "GET":
        if sessions.current() is not None:
            return redirect(_next_page())
        return _sign_in_page()
    email = request.form.get("email", "")
    with services().db.read() as session:
        editor = editors.sign_in(session, email, request.form.get("password", ""))
    if editor is None:
        return _sign_in_page(
            "That e-mail address and password do not belong together. Try again, or ask for a "
            "new sign-in link.",
            status=401,
        )
    sessions.begin(editor)
    return redirect(_next_page(), 303)


@blueprint.route("/welcome/<token>", methods=["GET", "POST"])
@limiter.limit("30 per minute", methods=["POST"], deduct_when=_has_failed)
def welcome(token: str) -> BaseResponse:
    """A one-time link. Looking at it does not use it up: mail programs look at links."""
    try:
        return _welcome(token)
    except NotFound as error:
        lifetime = editors.LINK_LIFETIME // timedelta(hours=1)
        page = render_template("newsroom/link_gone.html", problem=str(error), lifetime=lifetime)
        return make_response(page, 404)


@blueprint.post("/sign-out")
def sign_out() -> BaseResponse:
    sessions.end()
    flash("You are signed out.", "done")
    return redirect(url_for("newsroom.sign_in"), 303)


@blueprint.errorhandler(CSRFError)
def refuse_forged_form(_error: CSRFError) -> BaseResponse:
    """A form from elsewhere, or from before the last sign-in. Nothing has been done."""
    if request.endpoint == "newsroom.sign_in":
        return _sign_in_page("Your browser did not keep our cookie. Please try again.", status=400)
    if request.endpoint not in _WITHOUT_SESSION and sessions.current() is None:
        return _session_has_ended()
    kept = _page_with_text()
    if kept is not None:
        flash("Your form was too old, so nothing was sent. Here is your text again.", "problem")
        return redirect(kept, 303)
    page = render_template(
        "error.html",
        status=400,
        title="This form is too old",
        detail="You have signed in or out since you opened it. Nothing was done: go back, "
        "reload the page and send it again.",
    )
    return make_response(page, 400)


def _welcome(token: str) -> BaseResponse:
    """Raises NotFound for a link that does not work, or not any more."""
    with services().db.read() as session:
        email = editors.find_link(session, token).email
    if request.method == "GET":
        return make_response(render_template("newsroom/welcome.html", email=email))
    try:
        with services().db.write() as session:
            editor = editors.use_link(session, token, request.form.get("password", ""))
    except InvalidInput as error:
        page = render_template("newsroom/welcome.html", email=email, problem=str(error))
        return make_response(page, 422)
    sessions.begin(editor)
    flash("Your password is set, and you are signed in.", "done")
    return redirect(url_for("newsroom.home"), 303)


def _session_has_ended() -> Response:
    """The answer to a form that was not accepted; its text waits for the sign-in.

    It does so in the page, as it can be too long to be encoded twice in an address.
    """
    kept = _page_with_text()
    problem = "You are not signed in any more, and nothing was sent."
    if kept is not None:
        problem += " Sign in, and your text is here again."
    return _sign_in_page(problem, status=401, next_page=kept)


def _page_with_text() -> str | None:
    """The page that has the alert's text again which a form sent in vain; None for other forms."""
    if request.endpoint in _WITH_TEXT:
        page = url_for("newsroom.home")
    elif request.endpoint in _FOLLOWING_UP:
        page = url_for("newsroom.follow_up", **request.view_args or {})
    else:
        return None
    return f"{page}?{AlertText.sent().as_query()}"


def _sign_in_page(
    problem: str | None = None, *, status: int = 200, next_page: str | None = None
) -> Response:
    page = render_template(
        "newsroom/sign_in.html",
        problem=problem,
        email=request.form.get("email", ""),
        next_page=next_page or request.values.get("next", ""),
    )
    return make_response(page, status)


def _next_page() -> str:
    """The newsroom page that was asked for before signing in, never another site's."""
    wanted = request.values.get("next", "")
    home = url_for("newsroom.home")
    inside = wanted.startswith(home) and "\\" not in wanted and wanted.isprintable()
    return wanted if inside else home

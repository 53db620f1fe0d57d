"""The publication's sample page, and the files that a publisher's own site loads from us."""

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, abort, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from notifier.sections import slug_of
from web.services import services

blueprint = Blueprint("site", __name__)

IMAGES_KEEP_FOR = timedelta(days=7)


@blueprint.get("/")
def article() -> str | BaseResponse:
    """An article as a publisher would serve it, with the reader's script on it.

    Where readers could take it for news, with a publisher's site to go to, they are sent there.
    """
    settings = services().settings
    elsewhere = [
        origin
        for origin in settings.allowed_origins
        if origin.startswith("https:") and origin != settings.base_url
    ]
    if elsewhere and settings.base_url.startswith("https:"):
        return redirect(elsewhere[0])
    return render_template(
        "site/article.html",
        publication=settings.publication_name,
        sections={slug_of(name): name for name in settings.sections},
        today=datetime.now(UTC),
    )


@blueprint.get("/reader.js")
def reader_script() -> Response:
    return _for_other_sites("reader.js")


@blueprint.get("/reader.d.ts")
def reader_types() -> Response:
    """TypeScript's declarations of what the script puts on a page."""
    response = _for_other_sites("reader.d.ts")
    response.mimetype = "text/plain"  # by its name it would pass for a video
    return response


@blueprint.get("/reader/<path:module>")
def reader_module(module: str) -> Response:
    """What /reader.js loads when it needs it: the prompt, the panel, a language."""
    if not module.endswith(".js"):
        abort(404)
    return _for_other_sites(f"reader/{module}")


@blueprint.get("/notifier-worker.js")
def notifier_worker() -> Response:
    return _for_other_sites("notifier-worker.js")


@blueprint.get("/notifier-kill-switch.js")
def notifier_kill_switch() -> Response:
    """What a publisher's worker imports instead, to end notifications on a site."""
    return _for_other_sites("notifier-kill-switch.js")


@blueprint.get("/notifier/sw.js")
def publishers_worker() -> Response:
    """The small file that a publisher puts on its own site; on this page the site is ours."""
    return current_app.send_static_file("sw.js")


def _for_other_sites(script: str) -> Response:
    response = current_app.send_static_file(script)
    # Modules are loaded with CORS; they are the same for everybody, and so open to everybody.
    response.headers["Access-Control-Allow-Origin"] = "*"
    # Pages that isolate themselves (COEP) load only what says that it may be loaded.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


@blueprint.after_app_request
def keep_images(response: Response) -> Response:
    """Every alert makes every reader's browser look for the icon: let it find the one it has."""
    if request.endpoint == "static" and response.mimetype == "image/png":
        response.cache_control.max_age = int(IMAGES_KEEP_FOR.total_seconds())
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response

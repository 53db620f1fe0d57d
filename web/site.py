"""The publication's sample page, and the files that a publisher's own site loads from us."""

from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, current_app, render_template

from web.services import services

blueprint = Blueprint("site", __name__)

SCRIPTS_ARE_FRESH_FOR = timedelta(minutes=10)


@blueprint.get("/")
def article() -> str:
    """An article as a publisher would serve it, with the reader's script on it."""
    return render_template(
        "site/article.html",
        publication=services().settings.publication_name,
        today=datetime.now(UTC),
    )


@blueprint.get("/reader.js")
def reader_script() -> Response:
    return _script("reader.js")


@blueprint.get("/notifier-worker.js")
def notifier_worker() -> Response:
    return _script("notifier-worker.js")


@blueprint.get("/notifier/sw.js")
def publishers_worker() -> Response:
    """The small file that a publisher puts on its own site; here the site is ours."""
    return _script("sw.js")


def _script(name: str) -> Response:
    """A file that other sites load, so it may be kept by browsers and by a CDN for a while."""
    response = current_app.send_static_file(name)
    response.cache_control.no_cache = None
    response.cache_control.public = True
    response.cache_control.max_age = int(SCRIPTS_ARE_FRESH_FOR.total_seconds())
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response

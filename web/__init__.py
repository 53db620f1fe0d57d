"""The web app: what readers' browsers, the CMS, editors and ops talk to."""

from flask import Flask

from notifier import log
from notifier.config import Settings, get_settings
from web import ops, problems, security
from web.services import Services


def create_app(settings: Settings | None = None) -> Flask:
    """The app with these settings; without any, with the environment's, as a process of its own.

    Every process makes its own app, after any fork: `gunicorn "web:create_app()"`, no preload.
    """
    if settings is None:
        settings = get_settings()
        log.configure(settings)
    app = Flask(__name__)
    # An article's id may contain slashes, even two in a row: many CMSs use a URL as the id.
    app.url_map.merge_slashes = False
    Services.of(settings).install(app)
    security.protect(app, settings)
    problems.answer_errors(app)

    from web import api, newsroom, site

    security.exempt_from_csrf(app, api.blueprint, ops.blueprint)
    for blueprint in (api.blueprint, ops.blueprint, newsroom.blueprint, site.blueprint):
        app.register_blueprint(blueprint)
    return app

"""gunicorn's settings, for `gunicorn --config python:web.server "web:create_app()"`."""

from notifier.config import get_settings

_settings = get_settings()

bind = f"{_settings.bind}:{_settings.port}"
workers = _settings.web_processes
worker_class = "gthread"
threads = _settings.web_threads
control_socket_disable = True
# Behind a reverse proxy idle connections are reused; a reader's browser closes its own.
keepalive = 5
timeout = 30
limit_request_line = 8190  # a newsroom's page may have an alert's text in its address
graceful_timeout = 5
loglevel = "warning" if _settings.log_level == "info" else _settings.log_level
accesslog = None  # a reader's address is nobody's business
proc_name = "notifier-web"

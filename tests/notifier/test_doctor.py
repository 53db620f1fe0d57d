"""`notifier doctor` against real HTTP servers: what is there, what is missing, what to do."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from notifier.cli import main
from notifier.config import Settings, environment_of, get_settings
from notifier.doctor.csp import Policy
from notifier.embed import embed
from notifier.rehearsal.deployment import free_port
from web import create_app

PAGE = """<!doctype html><html><head><title>News</title>
<script src="{service}/reader.js" defer></script>
<link rel="manifest" href="/manifest.webmanifest"></head><body>News</body></html>"""


@dataclass
class Site:
    """A publisher's site: answers by path, each a status, headers and a body."""

    origin: str
    service: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)

    def put(
        self, path: str, body: str | bytes, kind: str, status: int = 200, **others: str
    ) -> None:
        headers = {name.replace("_", "-"): value for name, value in others.items()}
        content = body if isinstance(body, bytes) else body.encode()
        self.answers[path] = (status, {"Content-Type": kind, **headers}, content)

    def page(self, html: str = PAGE, **headers: str) -> None:
        self.put("/", html.format(service=self.service), "text/html", **headers)

    def worker(
        self, code: str | None = None, kind: str = "text/javascript", **headers: str
    ) -> None:
        own = f'importScripts("{self.service}/notifier-worker.js");'
        self.put("/notifier/sw.js", own if code is None else code, kind, **headers)


@contextmanager
def serving(site: Site, port: int) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = site.answers.get(self.path, (404, {}, b"not here"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, home_template: Path, sqlite_template: Path
) -> Iterator[Settings]:
    """The real web app on a port, which lets pages of one site in."""
    settings = Settings(
        _env_file=None,
        port=free_port(),
        broker_port=free_port(),
        notifier_home=home_template,
        database_url=f"sqlite:///{sqlite_template}",
        allowed_origins=(f"http://127.0.0.1:{free_port()}",),
        vapid_subject="mailto:push@hillvalley.example",
        publication_name="The Hill Valley Telegraph",
    )
    server = make_server("127.0.0.1", settings.port, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield settings
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(service: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A publisher's site on which everything is right, made by `notifier embed`."""
    for name, value in environment_of(service).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    [origin] = service.allowed_origins
    site = Site(origin, service.base_url)
    embed(tmp_path, site.service, "News")
    kinds = {".js": "text/javascript", ".png": "image/png", ".html": "text/html"}
    for file in tmp_path.rglob("*.*"):
        kind = kinds.get(file.suffix, "application/manifest+json")
        site.put(f"/{file.relative_to(tmp_path)}", file.read_bytes(), kind)
    site.page()
    with serving(site, int(origin.rpartition(":")[2])):
        yield site


def doctor(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "400"}).invoke(main, ["doctor", *arguments])


def examine(site: Site) -> Result:
    return doctor("--site", f"{site.origin}/", "--service", site.service)


def verdict(result: Result, subject: str) -> str:
    """The rows about a subject, as one text."""
    rows, found, taking = result.output.splitlines(), [], False
    for row in rows:
        cells = [cell.strip() for cell in row.strip("│┃ ").split("│")]
        if len(cells) == 3:
            taking = cells[1] == subject if cells[1] else taking
        if taking and row.startswith("│"):
            found.append(" ".join(cells))
    assert found, result.output
    return "\n".join(found)


def test_nothing_is_missing_where_everything_is_right(site: Site) -> None:
    result = examine(site)
    assert result.exit_code == 0, result.output
    assert "Nothing is missing." in result.output
    for subject in (
        "page", "script", "service", "ALLOWED_ORIGINS", "worker", "worker's scope",
        "worker's policy", "page's policy", "manifest", "icons", "preferences",
    ):  # fmt: skip
        assert "✓ there" in verdict(result, subject), subject


def test_a_strict_policy_that_names_us_is_enough(site: Site) -> None:
    policy = (
        f"default-src 'none'; script-src {site.service}; connect-src {site.service}; "
        "worker-src 'self'; manifest-src 'self'; require-trusted-types-for 'script'; "
        "trusted-types notifier"
    )
    site.page(Content_Security_Policy=policy)
    site.worker(Content_Security_Policy=f"default-src {site.service}")
    assert examine(site).exit_code == 0


@pytest.mark.parametrize(
    ("policy", "subject", "words"),
    [
        ("default-src 'self'", "page's policy: script", "to script-src"),
        ("script-src 'self' https:", "page's policy: script", "to script-src"),
        ("script-src 'strict-dynamic' http: 'nonce-a'", "page's policy: script", "nonce"),
        ("connect-src 'self'", "page's policy", "connect-src http://localhost"),
        ("default-src 'none'", "page's policy", "worker-src 'self'"),
        ("worker-src https://cdn.example", "page's policy", "worker-src 'self'"),
        ("trusted-types default", "page's policy", "trusted-types notifier"),
        ("manifest-src https://cdn.example", "manifest", "manifest-src http://127.0.0.1"),
    ],
)
def test_a_page_policy_that_forbids_something_says_what_to_add(
    policy: str, subject: str, words: str, site: Site
) -> None:
    site.page(Content_Security_Policy=policy)
    result = examine(site)
    assert result.exit_code == 1
    assert "✗ missing" in verdict(result, subject)
    assert words in verdict(result, subject)


def test_a_policy_in_the_page_itself_counts_too(site: Site) -> None:
    meta = """<meta http-equiv="Content-Security-Policy" content="connect-src 'self'">"""
    site.page(PAGE.replace("<head>", f"<head>{meta}"))
    assert "✗ missing" in verdict(examine(site), "page's policy")


def test_a_nonce_on_the_tag_is_enough(site: Site) -> None:
    site.page(
        PAGE.replace(" defer", ' nonce="r4nd0m" defer'),
        Content_Security_Policy="script-src 'strict-dynamic' 'nonce-r4nd0m'; worker-src 'self'",
    )
    assert "✓ there" in verdict(examine(site), "page's policy: script")


@pytest.mark.parametrize(
    ("code", "headers", "words"),
    [
        ("", {}, "does not import ours"),
        ('// importScripts("{service}/notifier-worker.js");', {}, "does not import ours"),
        ('importScripts("https://old.example/notifier-worker.js");', {}, "https://old.example"),
        ('importScripts("{service}/notifier-kill-switch.js");', {}, "kill switch"),
        (None, {"kind": "text/plain"}, "comes as text/plain"),
        ("<h1>Not found</h1>", {"kind": "text/html"}, "comes as text/html"),
        (None, {"status": 404}, "answers 404"),
        (None, {"status": 302, "Location": "/other.js"}, "redirects"),
    ],
)
def test_a_worker_that_would_not_start_says_why(
    code: str | None, headers: dict[str, str], words: str, site: Site
) -> None:
    site.worker(code and code.format(service=site.service), **headers)
    result = examine(site)
    assert result.exit_code == 1
    assert "✗ missing" in verdict(result, "worker")
    assert words in verdict(result, "worker")


def test_a_worker_that_cannot_be_followed_is_not_called_missing(site: Site) -> None:
    site.worker("importScripts(SERVICE + '/notifier-worker.js');")
    result = examine(site)
    assert "? look" in verdict(result, "worker")
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("script-src 'self'", "script-src http://localhost"),
        ("connect-src 'self'", "connect-src http://localhost"),
        ("require-trusted-types-for 'script'", "Leave that directive out"),
    ],
)
def test_the_workers_own_policy_is_examined(policy: str, words: str, site: Site) -> None:
    site.worker(Content_Security_Policy=policy)
    result = examine(site)
    assert result.exit_code == 1
    assert words in verdict(result, "worker's policy")


def test_a_header_that_narrows_the_scope_is_found(site: Site) -> None:
    site.worker(Service_Worker_Allowed="/notifier/deep/")
    assert "✗ missing" in verdict(examine(site), "worker's scope")
    site.worker(Service_Worker_Allowed="/")
    assert "✓ there" in verdict(examine(site), "worker's scope")


def test_a_page_without_the_tag_says_which_and_what_cannot_be_seen(site: Site) -> None:
    site.page("<html><body><!-- {service}/nothing --></body></html>")
    result = examine(site)
    assert result.exit_code == 1
    said = verdict(result, "script")
    assert f'<script src="{site.service}/reader.js" defer></script>' in said
    assert "cannot be seen from here" in said


def test_a_page_whose_tag_manager_may_add_it_is_for_you_to_look_at(site: Site) -> None:
    late = '<script src="https://www.googletagmanager.com/gtm.js"></script>'
    site.page(PAGE.replace('<script src="{service}/reader.js" defer></script>', late))
    result = examine(site)
    assert result.exit_code == 0
    assert "Google Tag Manager may add it later" in verdict(result, "script")


def test_a_tag_that_waits_for_consent_is_not_called_missing(site: Site) -> None:
    site.page(PAGE.replace("<script ", '<script type="text/plain" '))
    assert "consent" in verdict(examine(site), "script")


def test_a_tag_in_a_comment_or_template_is_no_tag(site: Site) -> None:
    tag = '<script src="{service}/reader.js" defer></script>'
    for hidden in (f"<!-- {tag} -->", f"<template>{tag}</template>"):
        site.page(PAGE.replace(tag, hidden))
        assert "✓" not in verdict(examine(site), "script")


def test_a_tag_of_another_service_is_named(site: Site) -> None:
    site.page(PAGE.replace("{service}", "https://old.example"))
    result = examine(site)
    assert result.exit_code == 1
    assert "--service https://old.example" in verdict(result, "script")


def test_a_site_that_the_service_does_not_let_in(site: Site) -> None:
    result = doctor(
        "--site", site.origin.replace("127.0.0.1", "localhost"), "--service", site.service
    )
    assert result.exit_code == 1
    assert "✗ missing" in verdict(result, "ALLOWED_ORIGINS")


def test_a_redirect_to_another_origin_is_followed_and_told(site: Site) -> None:
    site.put("/old", "", "text/html", 301, Location=f"{site.origin}/")
    other = site.origin.replace("127.0.0.1", "localhost")
    result = doctor("--site", f"{other}/old", "--service", site.service)
    assert result.exit_code == 0, result.output
    assert f"{other} leads to {site.origin}" in verdict(result, "page")


@pytest.mark.parametrize(
    ("manifest", "subject", "words"),
    [
        ({"icons": [{"src": "/notifier/icon-192.png"}]}, "manifest", "standalone"),
        ({"display": "browser"}, "manifest", "standalone"),
        ({"display": "standalone"}, "icons", "names none"),
        ({"display": "standalone", "icons": [{"src": "gone.png"}]}, "icons", "answers 404"),
        ({"display": "standalone", "icons": [{"src": "/"}]}, "icons", "text/html"),
        ([], "manifest", "not a JSON object"),
    ],
)
def test_what_a_manifest_lacks_for_iphones(
    manifest: object, subject: str, words: str, site: Site
) -> None:
    site.put("/manifest.webmanifest", json.dumps(manifest), "application/manifest+json")
    result = examine(site)
    assert result.exit_code == 1
    assert words in verdict(result, subject)


def test_a_page_that_links_no_manifest(site: Site) -> None:
    site.page(PAGE.replace("manifest", "author"))
    assert "links none" in verdict(examine(site), "manifest")


def test_a_page_that_cannot_be_opened_ends_the_examination(site: Site) -> None:
    site.answers.clear()
    assert "answers 404" in verdict(examine(site), "page")
    nobody = f"http://127.0.0.1:{free_port()}"
    result = doctor("--site", nobody, "--service", site.service)
    assert result.exit_code == 1
    assert "cannot be reached" in verdict(result, "page")


@pytest.mark.parametrize("address", ["www.example.com", "ftp://example.com/", "https://"])
def test_what_is_no_address_of_a_page_is_refused(address: str) -> None:
    result = doctor("--site", address, "--service", "https://alerts.example.com")
    assert result.exit_code == 1
    assert "is not the address of a page" in result.output


@pytest.mark.parametrize("address", ["alerts.example.com", "nonsense", "https://[::1"])
def test_what_is_no_address_of_a_service_is_refused(address: str, site: Site) -> None:
    result = doctor("--site", site.origin, "--service", address)
    assert result.exit_code == 1
    assert "is not the address of a service" in result.output


def test_a_service_that_is_down_is_found(site: Site) -> None:
    result = doctor("--site", site.origin, "--service", f"http://localhost:{free_port()}")
    assert result.exit_code == 1
    assert "cannot be reached" in verdict(result, "service")


def test_the_deployment_itself(site: Site) -> None:
    result = doctor()
    assert result.exit_code == 1  # nothing listens where the broker should be
    assert "✗ missing" in verdict(result, "broker")
    assert "reaches nobody outside" in verdict(result, "PUBLIC_URL")
    for subject in (
        "PUBLICATION_NAME", "VAPID_SUBJECT", "ALLOWED_ORIGINS", "database", "VAPID keys",
    ):  # fmt: skip
        assert "✓ there" in verdict(result, subject)


@pytest.mark.parametrize(
    ("answers", "words"),
    [((b"+OK\r\n", b"+PONG\r\n"), "✓ there"), ((b"-WRONGPASS p4ss\r\n",), "WRONGPASS")],
)
def test_the_brokers_answer_and_never_its_password(
    answers: tuple[bytes, ...], words: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pretending_to_be_a_broker(answers) as port:
        monkeypatch.setenv("REDIS_URL", f"redis://:p4ss@127.0.0.1:{port}/0")
        get_settings.cache_clear()
        result = doctor()
    assert words in verdict(result, "broker")
    assert "p4ss" not in result.output


def test_a_deployment_that_was_never_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFIER_HOME", str(tmp_path))
    get_settings.cache_clear()
    result = doctor()
    assert result.exit_code == 1
    assert "notifier setup" in verdict(result, "database and keys")
    assert "a sample" in verdict(result, "PUBLICATION_NAME")
    assert "placeholder" in verdict(result, "VAPID_SUBJECT")
    assert list(tmp_path.iterdir()) == []  # it only looks


@contextmanager
def pretending_to_be_a_broker(answers: tuple[bytes, ...]) -> Iterator[int]:
    """Gives one line back for each that comes, as a server does that speaks the Redis protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                for line in answers:
                    connection.recv(1_000)
                    connection.sendall(line)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("source", "url", "allowed"),
    [
        ("*", "https://a.example/x.js", True),
        ("https:", "https://a.example/x.js", True),
        ("http:", "https://a.example/x.js", True),
        ("data:", "https://a.example/x.js", False),
        ("a.example", "https://a.example/x.js", True),
        ("A.Example", "https://a.example/x.js", True),
        ("http://a.example", "https://a.example/x.js", True),
        ("http://a.example:80", "https://a.example/x.js", True),
        ("https://a.example:8443", "https://a.example/x.js", False),
        ("https://a.example:*", "https://a.example:8443/x.js", True),
        ("*.example", "https://a.example/x.js", True),
        ("*.a.example", "https://a.example/x.js", False),
        ("https://a.example/dir/", "https://a.example/dir/x.js", True),
        ("https://a.example/dir", "https://a.example/dir/x.js", False),
        ("https://a.example/x.js", "https://a.example/x.js", True),
        ("'self'", "https://site.example/x.js", True),
        ("'self'", "https://a.example/x.js", False),
        ("'none'", "https://a.example/x.js", False),
        ("'unsafe-inline'", "https://a.example/x.js", False),
    ],
)
def test_source_expressions_are_read_as_browsers_read_them(
    source: str, url: str, allowed: bool
) -> None:
    policy = Policy.parse(f"script-src {source}", "https://site.example")
    assert policy.allows("script-src", url) is allowed

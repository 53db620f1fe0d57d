"""The sample page and the files that publishers' sites and readers' browsers load."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from notifier.config import Settings

AppMaker = Callable[[Settings], Flask]

STATIC = Path(__file__).parents[2] / "web" / "static"
MODULES = sorted(f"/{path.relative_to(STATIC)}" for path in (STATIC / "reader").rglob("*.js"))
WORKERS = ["/notifier-worker.js", "/notifier-kill-switch.js"]
FOR_OTHER_SITES = ["/reader.js", *WORKERS, *MODULES]
SCRIPTS = ["/reader.js", "/reader/prompt.js", "/notifier/sw.js", *WORKERS]
MOST_BYTES_TO_ASK = 8000
ITSELF = "https://alerts.example.com"
IMAGES = ["/static/icon-192.png", "/static/icon-512.png", "/static/badge-96.png"]


def test_the_sample_page_embeds_the_readers_script_as_a_publisher_would(
    client: FlaskClient, settings: Settings
) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert '<script src="/reader.js" defer></script>' in answer.text
    assert settings.publication_name in answer.text
    assert all(name in answer.text for name in settings.sections)


def test_the_sample_page_sets_no_cookie_and_loads_nothing_from_elsewhere(
    client: FlaskClient,
) -> None:
    answer = client.get("/")
    assert "Set-Cookie" not in answer.headers
    assert "http://" not in answer.text
    assert "https://" not in answer.text


@pytest.mark.parametrize(
    ("origins", "leads_to"),
    [
        (("https://www.example.com",), "https://www.example.com"),
        (("http://localhost:3000", ITSELF, "https://www.example.com"), "https://www.example.com"),
        ((ITSELF,), None),
    ],
)
def test_where_readers_could_take_the_sample_page_for_news_they_get_the_publishers_site(
    settings: Settings, make_app: AppMaker, origins: tuple[str, ...], leads_to: str | None
) -> None:
    public = settings.model_copy(update={"public_url": ITSELF, "allowed_origins": origins})
    answer = make_app(public).test_client().get("/", base_url=ITSELF)
    assert answer.location == leads_to
    assert answer.status_code == (302 if leads_to else 200)


@pytest.mark.parametrize("path", SCRIPTS)
def test_scripts_are_static_files_that_caches_may_keep(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.status_code == 200
        assert answer.mimetype == "text/javascript"
        assert answer.cache_control.public
        assert answer.cache_control.max_age is not None
        assert answer.cache_control.max_age >= 60
        known = {"If-None-Match": answer.headers["ETag"]}
    with client.get(path, headers=known) as again:
        assert again.status_code == 304


def test_pages_of_any_site_may_import_every_module(client: FlaskClient) -> None:
    for path in FOR_OTHER_SITES:
        with client.get(path, headers={"Origin": "https://anybody.example"}) as answer:
            assert answer.mimetype == "text/javascript"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert answer.cache_control.max_age


def test_nothing_else_is_served_as_a_module(client: FlaskClient) -> None:
    for path in ("/reader/", "/reader/no-such.js", "/reader/../site.css", "/reader/../../site.js"):
        with client.get(path) as answer:
            assert answer.status_code == 404


def test_asking_costs_a_page_little() -> None:
    def compressed(*paths: Path) -> int:
        return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)

    reader = STATIC / "reader"
    script = compressed(STATIC / "reader.js", reader / "prompt.js", reader / "ui.js")
    languages = list((reader / "languages").glob("*.js"))
    assert len(languages) == 8
    assert script + max(map(compressed, languages)) <= MOST_BYTES_TO_ASK


def test_the_types_of_the_scripts_interface_are_served_as_text(client: FlaskClient) -> None:
    with client.get("/reader.d.ts") as answer:
        assert answer.mimetype == "text/plain"
        assert "interface NotifierSettings" in answer.text


@pytest.mark.parametrize("path", IMAGES)
def test_isolated_pages_of_other_sites_may_load_what_is_for_them(
    client: FlaskClient, path: str
) -> None:
    with client.get(path) as answer:
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("path", IMAGES)
def test_images_stay_in_browsers_for_days(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        assert answer.mimetype == "image/png"
        assert answer.cache_control.max_age is not None
        assert answer.cache_control.max_age >= 24 * 60 * 60


def test_the_publishers_worker_imports_ours(client: FlaskClient) -> None:
    with client.get("/notifier/sw.js") as answer:
        assert answer.text.strip() == 'importScripts("/notifier-worker.js");'


def test_a_page_that_does_not_exist_says_so_in_html(client: FlaskClient) -> None:
    answer = client.get("/no-such-page")
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert "There is nothing at this address." in answer.text


def test_every_option_event_and_call_of_the_script_is_documented() -> None:
    script = "".join(
        path.read_text() for path in [STATIC / "reader.js", *STATIC.glob("reader/*.js")]
    )
    types = (STATIC / "reader.d.ts").read_text()
    guide = (STATIC.parents[1] / "docs" / "embedding.md").read_text()
    for option in set(re.findall(r"(?<!\.)\boptions\.(\w+)", script)):
        assert f"`{option}`" in guide
        assert re.search(rf"^  {option}\?:", types, re.MULTILINE), option
    events = set(re.findall(r'\bemit\("(\w+)"', script))
    assert events
    for event in events:
        assert f"`notifier:{event}`" in guide
        assert f'"notifier:{event}":' in types
    interface = script.split("window.notifier = {")[1].split("};")[0]
    for call in re.findall(r"^    (\w+):", interface, re.MULTILINE):
        assert f"`{call}()`" in guide
        assert re.search(rf"^  {call}\(\): Promise", types, re.MULTILINE), call

"""The sample page and the files that publishers' sites and readers' browsers load."""

import pytest
from flask.testing import FlaskClient

from notifier.config import Settings

SCRIPTS = ["/reader.js", "/notifier-worker.js", "/notifier/sw.js"]
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


@pytest.mark.parametrize("path", ["/reader.js", "/notifier-worker.js", *IMAGES])
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

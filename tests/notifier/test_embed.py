"""`notifier embed`: what a publisher's own site needs, without harm to what is there."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from notifier.cli import main
from notifier.config import get_settings

SERVICE = "https://alerts.hillvalley.example"
IMPORT = f'importScripts("{SERVICE}/notifier-worker.js");'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a publisher's site, and a service with a public address and a name."""
    monkeypatch.setenv("PUBLIC_URL", SERVICE)
    monkeypatch.setenv("PUBLICATION_NAME", "Hill Valley “Telegraph” & Post")
    get_settings.cache_clear()
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def embed(site: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["embed", str(site), *options])


def contents(site: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(site)): file.read_bytes() for file in site.rglob("*") if file.is_file()
    }


def manifest(site: Path, name: str = "manifest.webmanifest") -> Any:
    return json.loads((site / name).read_text())


def test_a_new_site_gets_everything_and_is_told_what_to_put_into_its_pages(site: Path) -> None:
    result = embed(site)
    assert result.exit_code == 0, result.output
    assert set(contents(site)) == {
        "manifest.webmanifest", "notifications.html", "notifier/sw.js", "notifier/icon-192.png",
        "notifier/icon-512.png",
    }  # fmt: skip
    assert (site / "notifier/sw.js").read_text() == IMPORT + "\n"
    assert f'<script src="{SERVICE}/reader.js" defer></script>' in result.output
    assert '<link rel="manifest" href="/manifest.webmanifest">' in result.output
    made = manifest(site)
    assert made["name"] == "Hill Valley “Telegraph” & Post"
    assert (made["display"], made["start_url"], made["id"]) == ("standalone", "/", "/")
    for icon in made["icons"]:
        assert (site / icon["src"].lstrip("/")).read_bytes().startswith(b"\x89PNG")


def test_the_preferences_page_is_this_services_and_has_nothing_inline(site: Path) -> None:
    embed(site)
    page = (site / "notifications.html").read_text()
    assert f'<script src="{SERVICE}/reader.js"' in page
    assert "alerts.example.com" not in page
    assert "Hill Valley “Telegraph” &amp; Post" in page
    assert "<style" not in page
    assert " style=" not in page


def test_the_preferences_page_is_in_the_publications_language(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLICATION_LANGUAGE", "ar")
    get_settings.cache_clear()
    embed(site)
    assert '<html lang="ar" dir="rtl">' in (site / "notifications.html").read_text()


def test_repeating_changes_nothing(site: Path) -> None:
    embed(site)
    before = contents(site)
    result = embed(site)
    assert result.exit_code == 0, result.output
    assert contents(site) == before
    assert result.output.count("was there already") == 3


def test_a_manifest_of_ones_own_gets_what_is_missing_and_keeps_the_rest(site: Path) -> None:
    own = {
        "name": "Télégraphe",
        "theme_color": "#123456",
        "x_unknown": {"deep": [1, None, "é"]},
        "icons": [{"src": "/own.png", "sizes": "any"}],
        "start_url": "/?from=home",
    }
    (site / "site.webmanifest").write_text(json.dumps(own, indent=4, ensure_ascii=False))
    result = embed(site)
    assert result.exit_code == 0, result.output
    made = manifest(site, "site.webmanifest")
    assert {key: made[key] for key in own} == own
    assert list(made)[: len(own)] == list(own)
    assert made["display"] == "standalone"
    assert made["short_name"] == "Télégraphe"
    assert made["id"] == "/?from=home"  # the identity that installed apps have already
    assert "Télégraphe" in (site / "site.webmanifest").read_text()
    assert not (site / "manifest.webmanifest").exists()
    assert not (site / "notifier/icon-192.png").exists()
    assert 'href="/site.webmanifest"' in (site / "notifications.html").read_text()


def test_a_relative_start_url_gives_the_identity_that_browsers_computed(site: Path) -> None:
    (site / "app").mkdir()
    (site / "app/m.json").write_text('{"start_url": "./#top"}')
    embed(site, "--manifest", "app/m.json")
    assert manifest(site, "app/m.json")["id"] == "/app/"


def test_a_complete_manifest_is_not_written_again(site: Path) -> None:
    text = (
        '{"name":"A","short_name":"A","id":"/","start_url":"/",\r\n"display":"fullscreen",'
        '"icons":[{"src":"/a.png"}]}'
    )
    (site / "manifest.json").write_bytes(text.encode())
    assert embed(site).exit_code == 0
    assert (site / "manifest.json").read_bytes() == text.encode()


def test_the_manifest_that_the_home_page_links_is_the_one(site: Path) -> None:
    (site / "index.html").write_text('<link href="assets/app.json" rel="manifest">')
    (site / "manifest.json").write_text('{"name": "old"}')
    embed(site)
    assert manifest(site, "assets/app.json")["display"] == "standalone"
    assert manifest(site, "manifest.json") == {"name": "old"}


def test_a_display_of_ones_own_stays_and_one_is_told_what_it_means(site: Path) -> None:
    (site / "manifest.json").write_text('{"display": "browser"}')
    result = embed(site)
    assert result.exit_code == 1
    assert manifest(site, "manifest.json")["display"] == "browser"
    assert "iPhones" in result.output


def test_a_worker_of_ones_own_in_that_place_stays(site: Path) -> None:
    (site / "notifier").mkdir()
    (site / "notifier/sw.js").write_text("self.addEventListener('push', mine);\n")
    result = embed(site)
    assert result.exit_code == 1
    assert IMPORT in result.output
    assert (site / "notifier/sw.js").read_text() == "self.addEventListener('push', mine);\n"
    (site / "notifier/sw.js").write_text(f"{IMPORT}\nself.addEventListener('push', mine);\n")
    assert embed(site).exit_code == 0


def test_a_service_that_has_moved_is_imported_from_its_new_address(site: Path) -> None:
    (site / "notifier").mkdir()
    (site / "notifier/sw.js").write_text("importScripts('https://old.example/notifier-worker.js')")
    assert embed(site).exit_code == 0
    assert (site / "notifier/sw.js").read_text() == IMPORT + "\n"


def test_a_page_of_ones_own_of_that_name_stays(site: Path) -> None:
    (site / "notifications.html").write_text("<h1>Mine</h1>")
    result = embed(site)
    assert result.exit_code == 1
    assert "<notifier-preferences>" in result.output
    assert (site / "notifications.html").read_text() == "<h1>Mine</h1>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": "A",}', "not a manifest"),
        ('["name"]', "JSON object"),
        ('{"name": "A", "name": "B"}', 'it has "name" twice'),
        ('{"x": NaN}', "NaN is not JSON"),
        (b'{"name": "\xff"}', "not a manifest"),
    ],
)
def test_a_manifest_that_could_not_be_kept_whole_stops_it_before_anything_is_written(
    text: str | bytes, words: str, site: Path
) -> None:
    (site / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(site)
    result = embed(site)
    assert result.exit_code == 1
    assert words in result.output
    assert contents(site) == before


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    result = embed(tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "is not a folder" in result.output
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("path", ["../manifest.json", "/etc/manifest.json"])
def test_a_manifest_outside_of_the_folder_is_refused(path: str, site: Path) -> None:
    result = embed(site, "--manifest", path)
    assert result.exit_code == 1
    assert "inside DIR" in result.output


def test_a_path_that_is_in_the_way_is_named(site: Path) -> None:
    (site / "notifier").write_text("a file where the folder belongs")
    result = embed(site)
    assert result.exit_code == 1
    assert str(site / "notifier") in result.output


def test_without_a_public_address_it_says_that_this_is_for_trying_out(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PUBLIC_URL")
    get_settings.cache_clear()
    result = embed(site)
    assert result.exit_code == 0
    assert "set PUBLIC_URL" in result.output

"""`notifier embed`: puts what a publisher's own site needs into its folder."""

import html
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import click
from rich.console import Console
from rich.table import Table

from notifier.config import get_settings
from notifier.errors import InvalidInput
from notifier.phrases import direction_of
from notifier.terminal import plain_errors

STATIC = Path(__file__).parents[1] / "web" / "static"
ICON_SIZES = (192, 512)

WORKER = "notifier/sw.js"
PAGE = "notifications.html"
NEW_MANIFEST = "manifest.webmanifest"
USUAL_MANIFESTS = (NEW_MANIFEST, "site.webmanifest", "app.webmanifest", "manifest.json")

_SAMPLE_SERVICE = "https://alerts.example.com"
_SAMPLE_PUBLICATION = "The Daily Example"
_ONLY_IMPORT = re.compile(r"""\s*importScripts\(\s*["'][^"']*/notifier-worker\.js["']\s*\);?\s*""")


@dataclass(frozen=True)
class Step:
    """What was done with one file; `left` is what the publisher has to do by hand, if anything."""

    path: str
    done: str
    left: str = ""


def embed(
    folder: Path,
    service: str,
    publication: str,
    manifest: str | None = None,
    *,
    language: str = "en",
) -> list[Step]:
    """Make the publisher's files in the folder that its site serves as `/`.

    `service` is the public origin of this service, `manifest` the manifest's path in the folder
    if it is not to be looked for. What the publisher has written stays as it is; repeating
    changes nothing. Everything is read before anything is written: raises InvalidInput, with
    nothing changed, when the folder or its manifest cannot be used.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder. Name the one that your site serves as /.")
    try:
        name = manifest or _find_manifest(folder)
        steps = [
            _worker(folder, service),
            _page(folder, service, publication, name, language),
            *_manifest(folder, name, publication),
        ]
        return [step() for step in steps]
    except OSError as error:
        raise InvalidInput(f"{error.filename}: {error.strerror}.") from error


def import_line(service: str) -> str:
    """What the publisher's `/notifier/sw.js` must contain."""
    return f'importScripts("{service}/notifier-worker.js");'


def completed(manifest: dict[str, Any], publication: str, path: str) -> dict[str, Any]:
    """The manifest with what it lacks to be put on a home screen; its own members stay.

    `path` is where the site serves it, as the URLs in it are relative to that. An empty member
    counts as missing. An app's identity is its `id`, else its `start_url` (Web Application
    Manifest, section "id member"): an app that readers have installed keeps the identity it has.
    """
    start = urlsplit(urljoin(f"https://site.invalid{path}", str(manifest.get("start_url") or "/")))
    wanted = {
        "name": publication,
        "short_name": str(manifest.get("name") or publication),
        "start_url": "/",
        "id": start._replace(scheme="", netloc="", fragment="").geturl(),
        "display": "standalone",
        "icons": [
            {"src": f"/notifier/icon-{size}.png", "sizes": f"{size}x{size}", "type": "image/png"}
            for size in ICON_SIZES
        ],
    }
    return manifest | {key: value for key, value in wanted.items() if not manifest.get(key)}


def _worker(folder: Path, service: str) -> Callable[[], Step]:
    path, line = folder / WORKER, import_line(service)
    present = path.read_text(encoding="utf-8-sig", errors="replace") if path.exists() else None
    if present is not None and line in present:
        return lambda: Step(WORKER, "was there already")
    if present is None or _ONLY_IMPORT.fullmatch(present):
        done = "made" if present is None else "imports another address now"
        return lambda: _write(path, f"{line}\n".encode(), Step(WORKER, done))
    return lambda: Step(WORKER, "yours; not touched", f"Add this line to {WORKER}: {line}")


def _page(
    folder: Path, service: str, publication: str, manifest: str, language: str
) -> Callable[[], Step]:
    path = folder / PAGE
    page = (STATIC / "embed" / PAGE).read_text(encoding="utf-8")
    page = page.replace(_SAMPLE_SERVICE, service)
    page = page.replace(
        '<html lang="en">', f'<html lang="{html.escape(language)}" dir="{direction_of(language)}">'
    )
    page = page.replace(_SAMPLE_PUBLICATION, html.escape(publication))
    page = page.replace(f"/{NEW_MANIFEST}", html.escape(f"/{manifest}"))
    if not path.exists():
        return lambda: _write(path, page.encode(), Step(PAGE, "made"))
    present = path.read_text(encoding="utf-8", errors="replace")
    if present == page:
        return lambda: Step(PAGE, "was there already")
    left = []
    if "<notifier-preferences" not in present:
        left.append(f"Put <notifier-preferences></notifier-preferences> into {PAGE}.")
    if f"{service}/reader.js" not in present:
        left.append(f"Have {PAGE} load {service}/reader.js.")
    return lambda: Step(PAGE, "yours; not touched", " ".join(left))


def _manifest(folder: Path, name: str, publication: str) -> list[Callable[[], Step]]:
    path = folder / name
    present, indent = _read_manifest(path) if path.exists() else ({}, 2)
    whole = completed(present, publication, f"/{name}")
    added = [key for key in whole if whole[key] != present.get(key)]
    step = Step(name, f"added {', '.join(added)}" if path.exists() else "made")
    if present.get("display") not in (None, "", "standalone", "fullscreen"):
        step = Step(
            name,
            step.done if added else "was there already",
            f'{name} says "display": "{present["display"]}". iPhones allow notifications only '
            'with "standalone" or "fullscreen"; change it if you want them there.',
        )
    if not added:
        return [lambda: Step(name, "was there already", step.left)]
    text = json.dumps(whole, ensure_ascii=False, indent=indent) + "\n"
    steps = [lambda: _write(path, text.encode(), step)]
    return [*_icons(folder), *steps] if "icons" in added else steps


def _icons(folder: Path) -> list[Callable[[], Step]]:
    """Sample icons, so that the manifest is whole; a publisher's own of these names stay."""

    def copy(name: str) -> Callable[[], Step]:
        path = folder / "notifier" / f"{name}.png"
        step = Step(f"notifier/{name}.png", "made; a sample, put your own there")
        return lambda: _write(path, (STATIC / f"{name}.png").read_bytes(), step)

    names = [f"icon-{size}" for size in ICON_SIZES]
    return [copy(name) for name in names if not (folder / "notifier" / f"{name}.png").exists()]


def _write(path: Path, content: bytes, step: Step) -> Step:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return step


def _read_manifest(path: Path) -> tuple[dict[str, Any], int | str]:
    """The manifest and its indentation. Raises InvalidInput when it could not be kept whole."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        manifest = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except ValueError as error:
        raise InvalidInput(f"{path} is not a manifest: {error}. Mend it first.") from None
    if not isinstance(manifest, dict):
        raise InvalidInput(f"{path} is not a manifest: it must be a JSON object. Mend it first.")
    indented = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return manifest, indented[1] if indented else 2


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'it has "{twice}" twice')
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _find_manifest(folder: Path) -> str:
    """The manifest that the home page links, else one with a usual name, else a new one's name."""
    index = folder / "index.html"
    if index.exists():
        finder = _ManifestLink()
        finder.feed(index.read_text(encoding="utf-8", errors="replace"))
        linked = urlsplit(urljoin("https://site.invalid/", finder.href or ""))
        path = linked.path.lstrip("/")
        if linked.netloc == "site.invalid" and path and ".." not in Path(path).parts:
            return path
    return next((name for name in USUAL_MANIFESTS if (folder / name).exists()), NEW_MANIFEST)


class _ManifestLink(HTMLParser):
    href: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and "manifest" in (given.get("rel") or "").lower().split():
            self.href = self.href or given.get("href")


@click.command("embed")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--manifest", metavar="PATH",
    help="Your site's web app manifest, as a path in DIR. Default: the one that index.html links, "
    "or one with a usual name.",
)  # fmt: skip
def embed_command(folder: Path, manifest: str | None) -> None:
    """Put what your own site needs into its folder, DIR.

    DIR is what the site serves as /.

    Makes notifier/sw.js and notifications.html, and makes or completes the web app manifest. What
    you have written stays as it is. Exit code 1 if something is left to do by hand.
    """
    with plain_errors():
        settings = get_settings()
        if manifest is not None and (Path(manifest).is_absolute() or ".." in Path(manifest).parts):
            raise InvalidInput("--manifest must be a path inside DIR, such as site.webmanifest.")
        service = settings.base_url
        steps = embed(
            folder,
            service,
            settings.publication_name,
            manifest,
            language=settings.publication_language,
        )
    table = Table("file", "what happened")
    for step in steps:
        table.add_row(step.path, step.done)
    Console().print(table)
    click.echo("Put this into the <head> of your pages:\n")
    click.echo(f'  <script src="{service}/reader.js" defer></script>')
    click.echo(f'  <link rel="manifest" href="/{html.escape(steps[-1].path)}">\n')
    if not service.startswith("https://"):
        click.echo(f"{service} is for trying out: set PUBLIC_URL and run this again.", err=True)
    if not settings.allowed_origins:
        click.echo("Then name your site in ALLOWED_ORIGINS, https://www.example.com.", err=True)
    click.echo("See whether it works: notifier doctor --site https://www.example.com", err=True)
    left = [step.left for step in steps if step.left]
    for sentence in left:
        click.secho(sentence, bold=True, err=True)
    sys.exit(1 if left else 0)

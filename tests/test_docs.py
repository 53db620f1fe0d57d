"""The documents say what the code does."""

import re
from datetime import timedelta
from pathlib import Path

from notifier.config import Settings

DOCS = Path(__file__).parents[1] / "docs"
ROOT = DOCS.parent


def test_every_setting_stands_in_the_table_with_its_default_and_meaning() -> None:
    rows = [line for line in (DOCS / "settings.md").read_text().splitlines() if "| `" in line]
    expected = [
        f"| `{name.upper()}` | {_shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert rows == expected


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if not target.startswith(("http://", "https://")):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def _shown(default: object) -> str:
    if default in (None, ()):
        return ""
    if isinstance(default, tuple):
        return f"`{', '.join(default)}`"
    if isinstance(default, timedelta):
        hours = default // timedelta(hours=1)
        return f"`PT{hours}H`" if hours % 24 else f"`P{hours // 24}D`"
    return f"`{default}`"

"""axe-core, which finds what shuts readers out who see, hear or move differently."""

import json
from pathlib import Path

from browser import Browser

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"

CONTRAST = "color-contrast"
"""The one rule that can find something else in the dark than in the light."""


def serious_problems(browser: Browser, *rules: str) -> list[str]:
    """What it finds on the page, open shadow roots included, that is serious or critical.

    All its rules are tried, or those that are named.
    """
    browser.evaluate(f"void (window.axe || (() => {{ {AXE.read_text()} }})())")
    options = json.dumps({"runOnly": rules} if rules else {})
    found = browser.evaluate(f"axe.run({options}).then((result) => result.violations)")
    return [
        f"{rule['id']}: {[node['html'] for node in rule['nodes']]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]

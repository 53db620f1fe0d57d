"""axe-core, which finds what shuts readers out who see, hear or move differently."""

import json
from pathlib import Path

from browser import Browser

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"

CONTRAST = "color-contrast"
"""The one rule that can find something else in the dark than in the light."""

SHOW_GROUND = """() => {
  const { style } = document.documentElement;
  const grounds = [document.documentElement, document.body].map(
    (element) => getComputedStyle(element).backgroundColor,
  );
  if (grounds.every((ground) => ground === "rgba(0, 0, 0, 0)")) style.background = "Canvas";
}"""


def serious_problems(browser: Browser, *rules: str) -> list[str]:
    """What it finds on the page, open shadow roots included, that is serious or critical.

    All its rules are tried, or those that are named.
    """
    if not browser.evaluate("'axe' in window"):
        browser.evaluate(f"void (() => {{ {AXE.read_text()} }})()")
    # It takes a page that leaves its ground to the browser for white, in the dark too.
    browser.evaluate(f"void ({SHOW_GROUND})()")
    options = json.dumps({"runOnly": rules} if rules else {})
    found = browser.evaluate(f"axe.run({options}).then((result) => result.violations)")
    return [
        f"{rule['id']}: {[node['html'] for node in rule['nodes']]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]

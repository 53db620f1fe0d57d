"""axe-core, which finds what shuts readers out who see, hear or move differently."""

from pathlib import Path

from browser import Browser

AXE = Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js"


def serious_problems(browser: Browser) -> list[str]:
    """What it finds on the page, open shadow roots included, that is serious or critical."""
    browser.evaluate(f"void (() => {{ {AXE.read_text()} }})()")
    found = browser.evaluate("axe.run().then((result) => result.violations)")
    return [
        f"{rule['id']}: {[node['html'] for node in rule['nodes']]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]

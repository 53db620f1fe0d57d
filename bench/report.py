"""The bench's figures as a table, as a chart, and in docs/performance.md."""

import json
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
DOCUMENT = FOLDER.parent / "docs/performance.md"
CHART = FOLDER.parent / "docs/performance.svg"

_BAR_HEIGHT, _GAP, _LABELS, _BARS = 18, 8, 330, 420


def save(name: str, figures: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    return path


def load(name: str) -> dict[str, Any]:
    """What `results/<name>.json` holds; nothing if it is not there."""
    path = RESULTS / f"{name}.json"
    figures: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return figures


def write_section(name: str, text: str) -> None:
    """Put generated text between the document's marks of that name."""
    begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    document = DOCUMENT.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{DOCUMENT.name} has no marks for {name}")
    DOCUMENT.write_text(pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", document))


def comparison(figures: dict[str, Any]) -> str:
    """The comparison's tables in Markdown."""
    lines = [
        *_circumstances(figures),
        "",
        "| sender | CPU s per 1,000 messages: median | min | max | messages a second |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, cpu in figures["cpu_s_per_1000"].items():
        rate = figures["per_s"][name]["median"]
        lines.append(
            f"| {name} | {cpu['median']:.3f} | {cpu['min']:.3f} | {cpu['max']:.3f} | {rate:,.0f} |"
        )
    lines += ["", "| target | to reach | worst round | median | |", "|---|--:|--:|--:|---|"]
    for target in figures["targets"]:
        sign = "≥" if target["at_least"] else "≤"
        verdict = "met" if target["met"] else "**missed**"
        lines.append(
            f"| {target['name']} | {sign} {target['limit']:g} "
            f"| {target['worst']:.2f} | {target['median']:.2f} | {verdict} |"
        )
    peaks = [f"{peak:.0f} MB ({name})" for name, peak in figures["peak_mb"].items()]
    shares = [
        f"{share['median']:.1%}, at most {share['max']:.1%} ({name})"
        for name, share in figures["celery_share"].items()
    ]
    speed = figures["openssl_ecdhp256_per_s"]
    lines += [
        "",
        f"Peak memory of a worker process: {', '.join(peaks)}. "
        f"Of the service's CPU time Celery's main process, its supervisor and the broker take "
        f"{'; '.join(shares)}. "
        + (f"`openssl speed ecdhp256`: {speed:,.0f} a second. " if speed else "")
        + f"libcrypto of the C program: {figures['libcrypto_of_the_c_program']}.",
    ]
    return "\n".join(lines)


def chart(figures: dict[str, Any]) -> str:
    """Bars of the medians, the whiskers from the fastest to the slowest round, as SVG."""
    rows = [
        (name, cpu)
        for name, cpu in figures["cpu_s_per_1000"].items()
        # One of the lines is so long that nothing could be told of the others beside it.
        if not name.startswith("encryption") and not name.endswith("public authorities")
    ]
    largest = max(cpu["max"] for _, cpu in rows)
    step = _BAR_HEIGHT + _GAP
    width, height = _LABELS + _BARS + 90, step * len(rows) + 50
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="system-ui, sans-serif" font-size="12">'
        ),
        '<rect width="100%" height="100%" fill="#fff"/>',
        (
            f'<text x="10" y="20" font-size="14">CPU seconds per 1,000 messages (median of '
            f"{figures['rounds']}, with fastest and slowest round)</text>"
        ),
    ]
    for number, (name, cpu) in enumerate(rows):
        top = 38 + number * step
        middle = top + _BAR_HEIGHT / 2
        low, mid, high = (_BARS * cpu[key] / largest for key in ("min", "median", "max"))
        fill = "#1f6f43" if name.startswith(("our", "the whole")) else "#9aa5b1"
        parts += [
            f'<text x="{_LABELS - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            (
                f'<rect x="{_LABELS}" y="{top}" width="{max(mid, 1):.1f}" height="{_BAR_HEIGHT}" '
                f'fill="{fill}"/>'
            ),
            (
                f'<line x1="{_LABELS + low:.1f}" x2="{_LABELS + high:.1f}" y1="{middle}" '
                f'y2="{middle}" stroke="#222"/>'
            ),
            f'<text x="{_LABELS + high + 6:.1f}" y="{middle + 4}">{cpu["median"]:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])


def where(figures: dict[str, Any]) -> str:
    """When and on what it was measured, the beginning of a sentence."""
    host = figures["machine"]
    return (
        f"Measured {figures['measured_at'][:10]} on {host['cores']} cores of {host['processor']} "
        f"under a load of {host['load'][0]}"
    )


def _circumstances(figures: dict[str, Any]) -> list[str]:
    machine = figures["machine"]
    return [
        (
            f"{where(figures)}, {machine['system']}, Python {machine['python']}; "
            f"{figures['rounds']} rounds; {figures['subscribers']:,} subscribers for the service."
        )
    ]

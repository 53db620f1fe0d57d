"""`python -m bench`: measures, prints, and writes bench/results/ and docs/performance.md."""

import signal
import sys

import click
from rich.console import Console
from rich.markdown import Markdown

from bench import compare, report
from bench import distance as far
from bench import growth as grow


@click.command()
@click.option("--quick", is_flag=True, help="Small counts: only whether everything works.")
@click.option("--rounds", type=click.IntRange(1), help="Instead of 7.")
@click.option("--growth", is_flag=True, help="Cost and time from 1,000 to 1,000,000 subscribers.")
@click.option("--on", type=click.Choice(list(grow.DATABASES)), help="Growth on this database only.")
@click.option("--distance", is_flag=True, help="Rate at round trips of 0, 30 and 100 ms.")
def main(*, quick: bool, rounds: int | None, growth: bool, on: str | None, distance: bool) -> None:
    """Measure this project beside what people use today."""
    # So that whoever ends the bench ends all that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    if on and not growth:
        raise click.UsageError("--on belongs to --growth.")
    console = Console(stderr=True)
    chart = None
    if growth:
        figures = grow.run(console, quick=quick, on=on)
        name, text = "growth", grow.table(figures)
    elif distance:
        figures = far.run(console, quick=quick)
        name, text = "distance", far.table(figures)
    else:
        figures = compare.run(console, quick=quick, rounds=rounds)
        name, text = "latest", report.comparison(figures)
        chart = report.chart(figures)
    console.print(Markdown(text))
    # What only shows that everything works must not pass for a measurement.
    path = report.save(f"{name}-quick" if quick else name, figures)
    console.print(f"written: {path}")
    if not quick:
        report.write_section(name, text)
        if chart is not None:
            report.CHART.write_text(chart)


if __name__ == "__main__":
    main()

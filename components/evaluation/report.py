"""The report: one HTML file that needs nothing else, neither the network nor scripts."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import jinja2

PALE, FULL = 0.06, 0.9  # how strongly a cell of the confusion matrix is coloured, from empty to full


def render(evaluation: Mapping, leaderboard: list[dict], benchmark: Mapping, bundle: Mapping, problems: Mapping) -> str:
    """The page's text. The arguments are the contents of evaluation.json, leaderboard.json, benchmark.json, bundle.json
    and problems.json."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,  # a misspelt name is an error here, not a gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    environment.filters["si"] = _si
    chosen = evaluation["strategies"][0]
    return environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        leaderboard=leaderboard,
        benchmark=benchmark,
        bundle=bundle,
        problems=problems,
        chosen=chosen,
        axis=_axis(leaderboard),
        shades=_shades(chosen["confusion"]),
    )


def _template(name: str) -> str:
    return resources.files("components.evaluation").joinpath(name).read_text(encoding="utf-8")


def _axis(leaderboard: list[dict]) -> dict:
    """A range of accuracy that holds every interval, on round tenths, and its ticks."""
    lowest = min(row["test"]["low"] for row in leaderboard)
    tenths = min(9, max(0, int(lowest * 10)))  # at 100 %, too, the axis has a length
    apart = 5 if tenths >= 6 else 10  # hundredths between two ticks
    ticks = [hundredths / 100 for hundredths in range(10 * tenths, 101, apart)]
    return {"low": ticks[0], "high": 1.0, "ticks": ticks}


def _shades(confusion: list[list[int]]) -> list[list[float]]:
    """Opacity of each cell: its share of the row, so that rare classes show too."""
    return [[PALE + (FULL - PALE) * count / max(1, sum(row)) if count else 0.0 for count in row] for row in confusion]


def _si(value: float) -> str:
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f}{letter}"
    return f"{value:.0f}"

"""The strategies side by side: intervals on one axis, which leads are real, and what accuracy costs in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from components.reporting import charts, routes, scatter
from components.reporting.evidence import Evidence
from components.reporting.page import Figure, milliseconds, p_value, percent, points


def bars(intervals: Sequence[tuple[float, float, float]], *, zero: bool = False) -> list[Markup]:
    """A small bar for each (value, low, high), all on one axis; `zero`: one that holds 0."""
    low = min([low for _, low, _ in intervals] + [0.0] * zero)
    high = max([high for _, _, high in intervals] + [0.0] * zero)
    if low == high:  # no doubt left anywhere: what an easy data set gives
        low, high = low - 0.01, high + 0.01
    return [charts.interval(value, start, end, (low, high), zero=zero) for value, start, end in intervals]


def accuracy_bars(leaderboard: Sequence[Mapping]) -> list[Markup]:
    """The test accuracy of each row with its interval."""
    return bars([(row["test"]["accuracy"], row["test"]["low"], row["test"]["high"]) for row in leaderboard])


def leads(evaluation: Mapping) -> list[tuple[Mapping, Markup]]:
    """The chosen strategy's comparison with each other one, with a bar of the difference."""
    pairs = [pair for pair in evaluation["pairs"] if pair["strategy"] == evaluation["chosen"]]
    marks = bars([(pair["difference"], pair["low"], pair["high"]) for pair in pairs], zero=True) if pairs else []
    return list(zip(pairs, marks, strict=True))


def all_pairs(evaluation: Mapping) -> Figure:
    """Every comparison as a square: who leads really, and who cannot be told apart."""
    names = [row["strategy"] for row in evaluation["strategies"]]
    place = {name: index for index, name in enumerate(names)}
    cells = {(index, index): ("self", name) for index, name in enumerate(names)}
    rows = []
    for pair in evaluation["pairs"]:
        first, second = place[pair["strategy"]], place[pair["over"]]
        bounds = f"{points(pair['low'])} to {points(pair['high'])}"
        words = f"{pair['strategy']} over {pair['over']}: {points(pair['difference'])} points ({bounds})"
        words += f", adjusted p {p_value(pair['p_adjusted'])}"
        ahead = pair["difference"] > 0
        cells[first, second] = (_style(pair["real"], ahead), words)
        cells[second, first] = (_style(pair["real"], not ahead), words)
        mcnemar = f"{pair['mcnemar']['only_first']} : {pair['mcnemar']['only_second']}"
        real = "yes" if pair["real"] else "no"
        rows.append(
            (
                pair["strategy"],
                pair["over"],
                points(pair["difference"]),
                bounds,
                p_value(pair["p_adjusted"]),
                mcnemar,
                real,
            )
        )
    real = sum(pair["real"] for pair in evaluation["pairs"])
    title = "Every strategy against every other"
    finding = f"Real differences: {real} of {len(evaluation['pairs'])}; the others may be chance."
    if real == len(evaluation["pairs"]):
        finding = f"Real differences: {real} of {real}."
    chart = charts.squares(names, cells, title=title, description=finding)
    columns = ("strategy", "over", "difference", "interval", "adjusted p", "right alone", "real")
    return Figure(chart, title, finding, columns, rows)


def _style(real: bool, ahead: bool) -> str:
    return ("up" if ahead else "down") if real else "tie"


def tradeoff(evidence: Evidence) -> tuple[Figure, list[str]] | None:
    """Accuracy against latency, and the names that found no room; None where no latency was measured."""
    timed = [row for row in evidence.leaderboard if row["latency_ms"] is not None]
    if not timed:
        return None
    measured = [_point(row["strategy"], row["latency_ms"], row["test"], chosen=row["chosen"]) for row in timed]
    exported = routes.point(evidence, evidence.benchmark["fastest"])
    bundles: list[dict[str, Any]] = [
        {**exported, "name": f"exported, {exported['name']}", "chosen": False, "other": True}
    ]
    front = [measured[index]["name"] for index in scatter.pareto_front(measured)]
    title = "Test accuracy against the time for one image"
    unbeaten = f"any of {_listed(front)}" if len(front) > 1 else front[0]
    finding = (
        f"No strategy is both faster and better than {unbeaten}. Vertical bars are intervals of the accuracy, drawn "
        "for these, the chosen one and the exported one."
    )
    chart, missing = scatter.tradeoff(
        [*measured, *bundles],
        x_label="median latency in ms (logarithmic)",
        y_label="test accuracy",
        title=title,
        description=finding,
        other="exported, its fastest route",
    )
    rows = [
        (
            row["strategy"],
            percent(row["test"]["accuracy"]),
            milliseconds(row["latency_ms"]),
            "–" if row["size_mib"] is None else f"{row['size_mib']:.2f}",
            "yes" if row["strategy"] in front else "",
        )
        for row in timed
    ]
    rows += [(point["name"], percent(point["y"]), milliseconds(point["x"]), "", "") for point in bundles]
    return Figure(
        chart, title, finding, ("strategy", "accuracy %", "latency ms", "size MiB", "on the front"), rows
    ), missing


def _point(name: str, latency_ms: float, test: Mapping, *, chosen: bool) -> dict:
    bounds = {"low": test["low"], "high": test["high"]}
    return {"name": name, "x": latency_ms, "y": test["accuracy"], **bounds, "chosen": chosen, "other": False}


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

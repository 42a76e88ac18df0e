"""Learning curves: every loss term by step, and accuracy on validation images, for every strategy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from components.reporting import charts
from components.reporting.evidence import Evidence
from components.reporting.page import Figure, percent

MOST = 60
"""Points of a line: more cannot be told apart in a chart of this width."""
WIDTH, HEIGHT = 340, 210


def curves(evidence: Evidence) -> list[dict]:
    """For every strategy in the leaderboard's order: its name, and a figure (or None) of its losses and one of its
    validation accuracy. A strategy that solves in closed form has no steps, and so no curve."""
    shown = []
    for row in evidence.evaluation["strategies"]:
        name = row["strategy"]
        records = evidence.histories.get(name, ())
        best = evidence.best_seeds.get(name)
        shown.append(
            {"strategy": name, "losses": losses(name, records, best), "accuracy": accuracy(name, records, best)}
        )
    return shown


def losses(name: str, records: Sequence[Mapping], best: int | None) -> Figure | None:
    """Every term of the loss, a colour each; the best seed's line is bold."""
    logged = [record for record in records if _terms(record)]
    if not logged:
        return None
    terms = dict.fromkeys(term for record in logged for term in _terms(record))
    seeds = sorted({record["seed"] for record in logged})
    series, rows = [], []
    for colour, term in enumerate(terms):
        for seed in sorted(seeds, key=lambda value: value != best):  # the best first: it gives the legend its name
            own = [(record["step"], record[term]) for record in logged if record["seed"] == seed and term in record]
            if not own:
                continue
            series.append(_series(term, own, emphasis=seed == best, colour=colour))
            low = min(value for _, value in own)
            rows.append((term, str(seed), f"{own[0][1]:.4g}", f"{low:.4g}", f"{own[-1][1]:.4g}", str(own[-1][0])))
    positive = all(value > 0 for entry in series for value in entry["y"])
    last = {row[0]: row[4] for row in reversed(rows)}
    finding = "At the end: " + ", ".join(f"{term} {value}" for term, value in last.items()) + "."
    title = f"{name}: loss"
    chart = charts.lines(
        series, x_label="step", y_label="loss (logarithmic)" if positive else "loss", title=title, description=finding,
        log_y=positive, width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    return Figure(chart, title, finding, ("term", "seed", "first", "lowest", "last", "steps"), rows)


def accuracy(name: str, records: Sequence[Mapping], best: int | None) -> Figure | None:
    """Validation accuracy by step; None where it was measured only once, since a point is no curve."""
    measured = [record for record in records if "val_accuracy" in record]
    series, rows = [], []
    for seed in sorted({record["seed"] for record in measured}, key=lambda value: value != best):
        own = [(record["step"], record["val_accuracy"]) for record in measured if record["seed"] == seed]
        entry = _series("accuracy", own, emphasis=seed == best, colour=0)
        series.append(entry)
        rows += [(str(seed), str(step), percent(value)) for step, value in zip(entry["x"], entry["y"], strict=True)]
    if not series or max(len(entry["x"]) for entry in series) < 2:
        return None
    title = f"{name}: validation"
    ends = sorted(entry["y"][-1] for entry in series)
    finding = (
        f"It ends at {percent(ends[-1])} %."
        if len(ends) == 1
        else f"It ends at {percent(ends[0])} to {percent(ends[-1])} %."
    )
    chart = charts.lines(
        series, x_label="step", y_label="validation accuracy", title=title, description=finding, percent=True,
        width=WIDTH, height=HEIGHT,
    )  # fmt: skip
    return Figure(chart, title, finding, ("seed", "step", "accuracy %"), rows)


def _terms(record: Mapping) -> list[str]:
    return [key for key in record if key not in ("seed", "step", "lr") and not key.startswith("val_")]


def _series(name: str, own: Sequence[tuple[float, float]], *, emphasis: bool, colour: int) -> dict:
    every = math.ceil(len(own) / MOST)
    kept = [item for index, item in enumerate(own) if index % every == 0 or index == len(own) - 1]
    x, y = [item[0] for item in kept], [item[1] for item in kept]
    return {"name": name, "x": x, "y": y, "low": None, "high": None, "emphasis": emphasis, "colour": colour}

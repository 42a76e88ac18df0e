"""The bundle's routes on this machine, and the same model in torch: what each costs, and whether it is shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.evaluation.intervals import wilson
from components.reporting import scatter
from components.reporting.evidence import Evidence
from components.reporting.page import Figure, milliseconds, percent
from components.reporting.verdicts import Verdict, single, verdicts

STYLES = {"fastest": "good", "shipped": "good", "not shipped": "", "refused": "bad", "not measured": ""}
"""Kind of a verdict -> style of its badge."""


def routes(benchmark: Mapping[str, Any], bundle: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each route, and after them one for each reference. What was not measured is None."""
    admission = bundle.get("admission", {})
    largest = max(row["batch_size"] for row in benchmark["measurements"])
    measured = {row["route"] for row in benchmark["measurements"]}
    rows = []
    for verdict in verdicts(benchmark, bundle):
        one, many = (
            (single(benchmark, verdict.route), _at(benchmark, verdict.route, largest))
            if verdict.route in measured
            else (None, None)
        )
        answers = admission.get(verdict.route, {})
        rows.append(_row(verdict, one, many, benchmark["accuracy"].get(verdict.route), answers.get("agreement")))
    for name in dict.fromkeys(row["route"] for row in benchmark["references"]):
        one, many = single(benchmark, name), _at(benchmark, name, largest)
        rows.append(_row(Verdict(name, "", ""), one, many, benchmark["accuracy"].get(name), None))
    return rows


def _row(
    verdict: Verdict, one: Mapping | None, many: Mapping | None, accuracy: float | None, agreement: float | None
) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "style": STYLES.get(verdict.kind, ""),
        "one": one,
        "many": many,
        "accuracy": accuracy,
        "agreement": agreement,
    }


def _at(benchmark: Mapping[str, Any], route: str, batch_size: int) -> Mapping[str, Any]:
    rows = [*benchmark["measurements"], *benchmark["references"]]
    return next(
        row for row in rows if row["route"] == route and row["from"] == "arrays" and row["batch_size"] == batch_size
    )


def point(evidence: Evidence, name: str) -> dict[str, Any]:
    """A route or reference in a chart of accuracy against the time that routes are compared by, with Wilson's bounds of
    its accuracy."""
    accuracy, images = evidence.benchmark["accuracy"][name], evidence.evaluation["images"]["test"]
    bounds = wilson(round(accuracy * images), images, confidence=evidence.evaluation["confidence"])
    row = single(evidence.benchmark, name)
    time_ms = row["cpu_ms_per_image"] * row["batch_size"] if row["clock"] == "cpu" else row["latency_ms"]
    return {"name": name, "x": time_ms, "y": accuracy, "low": bounds.low, "high": bounds.high}


def chart(evidence: Evidence) -> tuple[Figure, list[str]] | None:
    """Test accuracy against latency, and the names that found no room; None where no accuracy is known."""
    benchmark = evidence.benchmark
    references = {row["route"] for row in benchmark["references"]}
    points: list[dict[str, Any]] = [
        {**point(evidence, name), "chosen": name == benchmark["fastest"], "other": name in references}
        for name in benchmark["accuracy"]
    ]
    if not points:
        return None
    smallest = min(row["batch_size"] for row in benchmark["measurements"])
    title = "Test accuracy of every route against its latency"
    fastest = single(benchmark, benchmark["fastest"])
    shown = next(entry["x"] for entry in points if entry["chosen"])
    finding = f"{benchmark['fastest']} is shipped as the fastest: {milliseconds(shown)} ms"
    over = fastest.get("over_torch")
    finding += (
        f", {over['ratio']:.1f} times as fast as torch ({over['low']:.1f} to {over['high']:.1f})." if over else "."
    )
    finding += " Vertical bars are Wilson's intervals of the accuracy."
    drawn, missing = scatter.tradeoff(
        points,
        x_label=f"median {'CPU time' if fastest['clock'] == 'cpu' else 'latency'} of a batch of {smallest} in ms "
        "(logarithmic)",
        y_label="test accuracy",
        title=title,
        description=finding,
        chosen="fastest",
        other="the same model in torch",
    )
    rows = [
        (
            point["name"], percent(point["y"]), f"{percent(point['low'])} to {percent(point['high'])}",
            milliseconds(point["x"]),
        )
        for point in points
    ]  # fmt: skip
    return Figure(drawn, title, finding, ("route", "accuracy %", "interval", "ms"), rows), missing


def measurements(benchmark: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of everything that was timed, as texts."""
    columns = (
        "route", "batch", "from", "p50 ms", "p95 ms", "p99 ms", "images/s", "CPU ms per image", "over torch",
        "over fp32",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (
            row["route"], str(row["batch_size"]), row["from"], milliseconds(row["latency_ms"]),
            milliseconds(row["latency_p95_ms"]), milliseconds(row["latency_p99_ms"]), f"{row['images_per_s']:.0f}",
            milliseconds(row["cpu_ms_per_image"]), _over(row.get("over_torch")), _over(row.get("over_fp32")),
        )
        for row in (*benchmark["measurements"], *benchmark["references"])
    ]  # fmt: skip
    return columns, rows


def _over(found: Mapping | None) -> str:
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else "–"

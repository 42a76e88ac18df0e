"""What became of every route of a bundle: its answers decide at export, its speed in the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """`kind`: "fastest", "shipped", "not shipped" (too slow), "refused" (for its answers) or "not measured"."""

    route: str
    kind: str
    reason: str


def verdicts(benchmark: Mapping[str, Any], bundle: Mapping[str, Any]) -> list[Verdict]:
    """`benchmark`: reports/benchmark.json; `bundle`: bundle.json, whose `admission` an old one lacks. Measured routes
    come first, then those that were refused or could not be measured."""
    admission = bundle.get("admission", {})
    return [_verdict(route, benchmark, admission) for route in dict.fromkeys([*benchmark["speed"], *admission])]


def _verdict(route: str, benchmark: Mapping[str, Any], admission: Mapping[str, Mapping]) -> Verdict:
    answers, speed = admission.get(route), benchmark["speed"].get(route)
    if answers is not None and not answers["admitted"]:
        return Verdict(route, "refused", answers["reason"])
    if speed is None:
        return Verdict(route, "not measured", "not measured on this machine")
    if not speed["admitted"]:
        return Verdict(route, "not shipped", speed["reason"])
    return Verdict(route, "fastest" if route == benchmark["fastest"] else "shipped", speed["reason"])


def single(benchmark: Mapping[str, Any], route: str) -> Mapping[str, Any]:
    """The measurement that stands for a route: of the smallest batch, from arrays."""
    rows = [*benchmark["measurements"], *benchmark["references"]]
    own = [row for row in rows if row["route"] == route and row["from"] == "arrays"]
    return min(own, key=lambda row: row["batch_size"])

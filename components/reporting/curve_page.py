"""Learning curves for people: a table for a terminal, and a page with the picture, its numbers and the answers."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from components.reporting import charts, page

WIDEST = 6
"""Numbers of labels that fit beside one another into 100 columns; more of them stand below one another."""


def table(curve: Mapping) -> Table:
    """Mean test accuracy and half the width of its band in percent, at most 100 columns wide."""
    counts = curve["labels"]
    title = f"Test accuracy in % by labels per class, ± half of its {curve['confidence']:.0%} band"
    grid = Table(title=title, title_justify="left", expand=False)
    wide = len(counts) <= WIDEST
    grid.add_column("strategy", overflow="fold")
    for heading in [str(count) for count in counts] if wide else ["labels", "accuracy"]:
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in curve["strategies"]:
        found = cells(row, counts)
        if wide:
            grid.add_row(row["strategy"], *found)
        else:
            for index, (count, cell) in enumerate(zip(counts, found, strict=True)):
                last = index == len(counts) - 1
                grid.add_row(row["strategy"] if not index else "", str(count), cell, end_section=last)
    return grid


def cells(row: Mapping, counts: list[int]) -> list[str]:
    """For each number of labels "97.6 ± 0.8", or why there is no such number."""
    found = {point["labels"]: f"{100 * point['accuracy']:.1f} ± {100 * half(point):.1f}" for point in row["points"]}
    if not row["uses_labels"]:
        return [found.get(None, "failed")] * len(counts)
    return [found.get(count, "failed") for count in counts]


def half(point: Mapping) -> float:
    """The longer side of a band: it is cut off at 0 and at 1."""
    return max(point["high"] - point["accuracy"], point["accuracy"] - point["low"])


def render(curve: Mapping) -> str:
    """The page, complete in itself."""
    rows = [{**row, "cells": cells(row, curve["labels"])} for row in curve["strategies"]]
    return page.render("curve.html.j2", curve=curve, rows=rows, chart=_chart(curve))


def _chart(curve: Mapping) -> str:
    first, last = curve["labels"][0], curve["labels"][-1]
    series = []
    for colour, row in enumerate(curve["strategies"]):
        points = row["points"]
        if not points:
            continue
        if row["uses_labels"]:
            series.append(
                _series(row["strategy"], colour, [point["labels"] for point in points], points, emphasis=True)
            )
            beyond = [point for point in (row["fit"] or {"predicted": []})["predicted"] if point["labels"] >= last]
            if len(beyond) > 1:
                name = f"{row['strategy']}, foretold"
                series.append(_series(name, colour, [point["labels"] for point in beyond], beyond, emphasis=False))
        else:
            series.append(_series(row["strategy"], colour, [first, 2 * last], [points[0]] * 2, emphasis=True))
    answers = " ".join(row["sentence"] for row in curve["strategies"])
    return charts.lines(
        series,
        x_label="labelled training images per class (logarithmic)",
        y_label="test accuracy",
        title="Accuracy against labels per class",
        description=f"{answers} The numbers are in the table below.",
        log_x=True,
        percent=True,
    )


def _series(name: str, colour: int, x: list[float], points: list[Mapping], *, emphasis: bool) -> dict:
    return {
        "name": name,
        "colour": colour,
        "x": x,
        "y": [point["accuracy"] for point in points],
        "low": [point["low"] for point in points],
        "high": [point["high"] for point in points],
        "emphasis": emphasis,
    }

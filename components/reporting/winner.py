"""The chosen model from near: what it takes for what, how far its confidence can be trusted, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.reporting import charts
from components.reporting.competitors import bars
from components.reporting.page import Figure, percent
from components.types import TASK

MATRIX_UP_TO = 30
"""Classes: beyond that a matrix is too large to read, and a list of the most frequent confusions says more."""
LISTED = 30
TOLD = 0.9
"""Coverage of the threshold that is put into words, or the nearest to it."""
PALE, FULL = 0.06, 0.5
"""How strongly a cell of the matrix is coloured, from empty to full: on more, its text would be hard to read."""


def confusion(row: Mapping, classes: Sequence[str]) -> dict:
    """`cells`: (count, opacity) of each cell, by share of its true class so that rare classes show too; None with many
    classes. `confusions`: (true class, answer, count, share of the true class), the most frequent first."""
    counts = row["confusion"]
    totals = [max(1, sum(line)) for line in counts]
    cells = [
        [(count, PALE + (FULL - PALE) * count / total if count else 0.0) for count in line]
        for line, total in zip(counts, totals, strict=True)
    ]
    wrong = [
        (count, count / totals[truth], truth, answer)
        for truth, line in enumerate(counts)
        for answer, count in enumerate(line)
        if count and truth != answer
    ]
    wrong.sort(key=lambda entry: (-entry[0], -entry[1], entry[2], entry[3]))
    return {
        "cells": cells if len(classes) <= MATRIX_UP_TO else None,
        "tilted": max(map(len, classes)) > 3,
        "confusions": [
            (classes[truth], classes[answer], count, share) for count, share, truth, answer in wrong[:LISTED]
        ],
        "wrong": sum(entry[0] for entry in wrong),
    }


def reliability(row: Mapping) -> Figure:
    """Confidence against the share of right answers, before and after temperature scaling."""
    title = "Is its confidence to be believed?"
    test, temperature = row["test"], row["temperature"][TASK]
    finding = (
        f"The confidence misses the accuracy by {percent(test['ece'])} points on average before and "
        f"{percent(test['ece_calibrated'])} after division of the logits by {temperature['value']:.3g}, which was "
        f"fitted on {temperature['images']} validation images. On the dashed line, confidence and accuracy agree; the "
        "larger a mark, the more images it stands for."
    )
    shown = [("before", row["reliability"]["before"]), ("after", row["reliability"]["after"])]
    series = [
        {
            "name": f"{when} scaling",
            "x": [item["confidence"] for item in bins],
            "y": [item["accuracy"] for item in bins],
            "low": None,
            "high": None,
            "emphasis": when == "after",
            "weights": [item["images"] for item in bins],
            "colour": {"before": 1, "after": 0}[when],
        }
        for when, bins in shown
    ]
    chart = charts.lines(
        series, x_label="mean confidence", y_label="share of right answers", title=title, description=finding,
        percent=True, x_percent=True, diagonal=True, width=560, height=360,
    )  # fmt: skip
    rows = [
        (
            when,
            f"{percent(item['low'], 0)} to {percent(item['high'], 0)}",
            str(item["images"]),
            percent(item["confidence"]),
            percent(item["accuracy"]),
        )
        for when, bins in shown
        for item in bins
    ]
    return Figure(chart, title, finding, ("scaling", "confidence %", "images", "mean confidence %", "right %"), rows)


def per_class(row: Mapping) -> Figure:
    """Recall with its interval and precision of each class; the worst ones where there are many."""
    there = [entry for entry in row["per_class"] if entry["images"]]  # of the others nothing is known
    ranked = sorted(there, key=lambda entry: (entry["recall"], entry["class_name"]))
    some = len(ranked) > LISTED
    drawn = ranked[:LISTED] if some else there
    worst = row["worst_class"]
    title = (
        f"Precision and recall of the {LISTED} classes with the lowest recall"
        if some
        else "Precision and recall of each class"
    )
    finding = f"It finds the fewest of class {worst['class_name']}: {percent(worst['recall'])} %."
    if worst["recall"] == 1:
        finding = "It finds all test images of every class."
    if missing := len(row["per_class"]) - len(there):
        finding += f" Without a test image, and so not drawn: {missing} of {len(row['per_class'])} classes."
    finding += " Intervals are Wilson's, for the best seed."
    chart = charts.rates(
        [
            {
                "name": entry["class_name"],
                "first": entry["recall"],
                "low": entry["recall_low"],
                "high": entry["recall_high"],
                "second": entry["precision"],
            }
            for entry in drawn
        ],
        names=("recall", "precision"),
        title=title,
        description=finding,
    )
    rows = [
        (
            entry["class_name"],
            str(entry["images"]),
            percent(entry["precision"]),
            percent(entry["recall"]) if entry["images"] else "–",
            f"{percent(entry['recall_low'])} to {percent(entry['recall_high'])}",
            f"{entry['f1']:.3f}" if entry["images"] else "–",
        )
        for entry in row["per_class"]
    ]
    return Figure(
        chart, title, finding, ("class", "images", "precision %", "recall %", "interval of recall", "F1"), rows
    )


def selective(row: Mapping) -> Figure | None:
    """Accuracy on the images that it is most sure of; None where no coverage was asked for, which `row` tells."""
    if not row["selective"]:
        return None
    # Where no test image is as sure as the threshold asks, there is no accuracy to draw.
    answering = [entry for entry in row["selective"] if entry["test_accuracy"] is not None]
    levels = sorted(answering, key=lambda entry: entry["test_coverage"])
    title = "What is gained by leaving unsure images to a person"
    finding = "No test image is as sure as any threshold asks: all of them are left to a person."
    if levels:
        told = min(levels, key=lambda entry: abs(entry["coverage"] - TOLD))
        finding = (
            f"Answering only where the confidence is at least {told['threshold']:.3f}, it leaves "
            f"{percent(1 - told['test_coverage'])} % of the test images to a person and is right on "
            f"{percent(told['test_accuracy'])} % of the others."
        )
    line = {
        "name": "accuracy",
        "x": [entry["test_coverage"] for entry in levels],
        "y": [entry["test_accuracy"] for entry in levels],
        "low": None,
        "high": None,
        "emphasis": True,
    }
    chart = charts.lines(
        [line] if levels else [], x_label="share of the test images that are answered", y_label="accuracy on these",
        title=title, description=finding, percent=True, x_percent=True, width=560, height=320,
    )  # fmt: skip
    rows = [
        (
            percent(entry["coverage"], 0),
            f"{entry['threshold']:.3f}",
            percent(entry["test_coverage"]),
            "–" if entry["test_accuracy"] is None else percent(entry["test_accuracy"]),
        )
        for entry in row["selective"]
    ]
    columns = ("coverage on validation %", "threshold", "coverage on test %", "accuracy on test %")
    return Figure(chart, title, finding, columns, rows)


def slices(row: Mapping) -> list[tuple]:
    """(slice, bar), the worst first."""
    ranked = sorted(row["slices"], key=lambda entry: (entry["accuracy"], entry["column"], str(entry["value"])))
    marks = bars([(entry["accuracy"], entry["low"], entry["high"]) for entry in ranked]) if ranked else []
    return list(zip(ranked, marks, strict=True))

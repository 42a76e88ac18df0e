"""The comparison as `dvc metrics` and `dvc plots` read it: a few flat numbers, and a table for each picture."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from components import jsonfile, paths

SHOWN = {
    "accuracy": "accuracy", "macro_f1": "macro_f1", "worst_recall": "worst_recall", "log_loss": "log_loss_calibrated",
    "ece": "ece_calibrated",
}  # fmt: skip
"""Column of `dvc metrics show` -> test score. No more than fit a terminal."""


def write(evaluation: Mapping, histories: Mapping[str, Sequence[Mapping]]) -> None:
    """reports/metrics.json and reports/plots, from what reports/evaluation.json holds and, by strategy, the records of
    history.jsonl."""
    jsonfile.write(paths.METRICS, numbers(evaluation))
    shutil.rmtree(paths.PLOTS, ignore_errors=True)
    jsonfile.write(paths.PLOTS / "accuracy.json", {name: value for name, value, _, _ in accuracy(evaluation)})
    row = evaluation["strategies"][0]
    assert row["strategy"] == evaluation["chosen"]
    _write(paths.PLOTS / "accuracy.csv", ("strategy", "accuracy", "low", "high"), accuracy(evaluation))
    _write(paths.PLOTS / "confusion.csv", ("actual", "predicted"), confusion(row["confusion"], evaluation["classes"]))
    _write(paths.PLOTS / "reliability.csv", ("confidence", "accuracy", "images"), reliability(row))
    for name, history in histories.items():
        if lines := losses(history):
            _write(paths.PLOTS / "losses" / f"{name}.csv", ("step", "loss"), lines)


def numbers(evaluation: Mapping) -> dict[str, float | str]:
    """Of the chosen strategy on the test images."""
    test = evaluation["strategies"][0]["test"]
    return {"chosen": evaluation["chosen"], **{column: test[name] for column, name in SHOWN.items()}}


def accuracy(evaluation: Mapping) -> list[tuple]:
    """(strategy, test accuracy, its bounds), best first by validation."""
    tests = [(row["strategy"], row["test"]) for row in evaluation["strategies"]]
    return [(name, test["accuracy"], test["low"], test["high"]) for name, test in tests]


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> list[tuple[str, str]]:
    """(true class, answer) for each image, out of the matrix of counts."""
    return [
        (actual, predicted)
        for actual, row in zip(classes, counts, strict=True)
        for predicted, count in zip(classes, row, strict=True)
        for _ in range(count)
    ]


def reliability(row: Mapping) -> list[tuple]:
    """(mean confidence, accuracy, images) of each range of the calibrated confidence that holds any."""
    return [(entry["confidence"], entry["accuracy"], entry["images"]) for entry in row["reliability"]["after"]]


def losses(history: Sequence[Mapping]) -> list[tuple[int, float]]:
    """(step, sum of all terms of the loss), the mean over the seeds that got there."""
    sums: dict[int, list[float]] = {}
    for record in history:
        terms = [value for name, value in record.items() if name not in ("seed", "step", "lr", "val_accuracy",
                                                                         "val_cross_entropy")]  # fmt: skip
        if terms:
            sums.setdefault(record["step"], []).append(sum(terms))
    return [(step, sum(values) / len(values)) for step, values in sorted(sums.items())]


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    jsonfile.write_text(path, stream.getvalue())

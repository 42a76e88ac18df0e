"""The numbers of one strategy: on a split as means over seeds, and of the seed that would be shipped in detail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.evaluation import metrics, selective
from components.evaluation.bootstrap import two_way
from components.evaluation.intervals import wilson
from components.evaluation.predictions import Answers

MISTAKES = 24
"""How many of the most confident wrong answers are listed."""


def score(
    answers: Answers,
    temperatures: Sequence[float],
    accuracy_bounds: tuple[float, float],
    macro_f1_bounds: tuple[float, float],
    confidence: float,
) -> dict[str, float | None]:
    """Metrics on one split, the mean over seeds; `low` and `high` bound the accuracy.

    Where every answer is right, or every one wrong, no resample differs from another; the bounds are then Wilson's.
    """
    per_seed = [
        _of_seed(logits, answers.labels, temperature)
        for logits, temperature in zip(answers.logits, temperatures, strict=True)
    ]
    means = {name: float(np.mean([entry[name] for entry in per_seed])) for name in per_seed[0]}
    accuracies = [entry["accuracy"] for entry in per_seed]
    low, high = accuracy_bounds
    if low == high:
        images = len(answers.labels)
        _, low, high = wilson(round(means["accuracy"] * images), images, confidence=confidence)
    return {
        "accuracy": means.pop("accuracy"),
        "low": low,
        "high": high,
        "seed_std": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
        "macro_f1": means.pop("macro_f1"),
        "macro_f1_low": macro_f1_bounds[0],
        "macro_f1_high": macro_f1_bounds[1],
        **means,
    }


def _of_seed(logits: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    counts = metrics.confusion(logits.argmax(-1), labels, logits.shape[-1])
    there = counts.sum(1) > 0
    found = {
        "accuracy": float(np.diag(counts).sum() / counts.sum()),
        "macro_f1": metrics.macro_f1(counts),
        "worst_recall": float(metrics.precision_recall_f1(counts)[1][there].min()),
    }
    for suffix, values in (("", logits), ("_calibrated", logits / temperature)):
        found[f"log_loss{suffix}"] = metrics.log_loss(values, labels)
        found[f"brier{suffix}"] = metrics.brier(values, labels)
        found[f"ece{suffix}"] = metrics.expected_calibration_error(values, labels)
    return found


def per_class(counts: np.ndarray, classes: Sequence[str], confidence: float) -> list[dict]:
    """Of each class, from a confusion matrix [C, C]; the recall with its interval."""
    precision, recall, f1 = metrics.precision_recall_f1(counts)
    found = []
    for index, name in enumerate(classes):
        images = int(counts[index].sum())
        interval = wilson(int(counts[index, index]), images, confidence=confidence)
        found.append(
            {
                "class_name": name,
                "images": images,
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "recall_low": interval.low,
                "recall_high": interval.high,
            }
        )
    return found


def worst_class(found: Sequence[dict]) -> dict:
    """The class of which the fewest images are recognised, among those that have any."""
    entry = min((entry for entry in found if entry["images"]), key=lambda entry: entry["recall"])
    return {"class_name": entry["class_name"], "recall": entry["recall"]}


def abstaining(val: np.ndarray, test: np.ndarray, right: np.ndarray, coverages: Sequence[float]) -> list[dict]:
    """Where the confidences of the val images [M] say to draw the line, and what that does on the test images [N]."""
    found = []
    for coverage in coverages:
        line = selective.threshold(val, coverage)
        share, accuracy = selective.at_threshold(test, right, line)
        found.append({"coverage": coverage, "threshold": line, "test_coverage": share, "test_accuracy": accuracy})
    return found


def mistakes(
    chances: np.ndarray, labels: np.ndarray, classes: Sequence[str], rows: np.ndarray, paths: Sequence[str]
) -> list[dict]:
    """The most confident of the wrong answers; chances [N, C], `rows` [N] are the images' places among `paths`."""
    answers, confidence = chances.argmax(1), chances.max(1)
    wrong = np.flatnonzero(answers != labels)
    first = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "row": int(rows[index]),
            "path": paths[rows[index]],
            "label": classes[labels[index]],
            "answer": classes[answers[index]],
            "confidence": float(confidence[index]),
        }
        for index in first.tolist()
    ]


def episodes(accuracy: np.ndarray, facts: dict, confidence: float) -> dict:
    """Mean accuracy [S, E] over few-shot tasks and seeds, with the interval that the literature gives: so many standard
    errors either way (1.96 for 95 % and many tasks), to which the seeds add theirs."""
    low, high = two_way(accuracy, confidence)
    return {**facts, "accuracy": float(accuracy.mean()), "low": max(low, 0.0), "high": min(high, 1.0)}

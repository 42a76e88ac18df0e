"""Several strategies' answers to the same images, compared: validation chooses, test reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.errors import DataError
from components.evaluation import metrics
from components.evaluation.intervals import mean_interval, paired_interval
from components.params import EvaluateParams

BASELINE = "from_scratch"
"""The strategy that every transfer has to beat."""
SOURCE_ONLY = "source_only"
"""The strategy that every adaptation has to beat."""


@dataclass(frozen=True)
class Answers:
    """One strategy's answers to one split: logits [S, N, C] over S seeds, and the labels [N]."""

    logits: np.ndarray
    labels: np.ndarray

    def correct(self) -> np.ndarray:
        """[N]: the share of seeds that were right on each image."""
        return (self.logits.argmax(-1) == self.labels).mean(0)

    def of_seed(self, index: int) -> Answers:
        """One seed's answers alone."""
        return Answers(self.logits[index : index + 1], self.labels)


def score(answers: Answers, params: EvaluateParams, seed: int) -> dict[str, float]:
    """Metrics of one strategy on one split, the mean over seeds; `low` and `high` bound the accuracy."""
    interval = mean_interval(answers.correct(), confidence=params.confidence, resamples=params.resamples, seed=seed)
    per_seed = []
    for logits in answers.logits:
        counts = metrics.confusion(logits.argmax(-1), answers.labels, logits.shape[-1])
        per_seed.append(
            {
                "macro_f1": float(metrics.precision_recall_f1(counts)[2].mean()),
                "ece": metrics.expected_calibration_error(logits, answers.labels),
                "log_loss": metrics.log_loss(logits, answers.labels),
            }
        )
    means = {name: float(np.mean([entry[name] for entry in per_seed])) for name in per_seed[0]}
    return {"accuracy": interval.value, "low": interval.low, "high": interval.high, **means}


def compare(
    entries: Mapping[str, Mapping[str, Answers]], params: EvaluateParams, seed: int
) -> tuple[list[str], list[dict]]:
    """name -> split -> answers; returns the names, best first by validation, and the first one's lead over each other.

    A lead is the paired difference of test accuracy; it is real where its interval excludes zero.
    """
    for split in ("val", "test"):
        labels = [answers[split].labels for answers in entries.values()]
        if not all(np.array_equal(other, labels[0]) for other in labels):
            raise DataError(f"the strategies answered different {split} images: run the pipeline again")
    scores = {name: score(answers["val"], params, seed) for name, answers in entries.items()}
    ranked = sorted(entries, key=lambda name: (-scores[name][params.select_by], scores[name]["log_loss"], name))
    first = ranked[0]
    return ranked, [lead(entries, first, other, params, seed) for other in ranked[1:]]


def lead(
    entries: Mapping[str, Mapping[str, Answers]], name: str, other: str, params: EvaluateParams, seed: int
) -> dict:
    """The paired difference of test accuracy between two strategies, with its interval."""
    interval = paired_interval(
        entries[name]["test"].correct(),
        entries[other]["test"].correct(),
        confidence=params.confidence,
        resamples=params.resamples,
        seed=seed,
    )
    return {
        "strategy": name,
        "over": other,
        "difference": interval.value,
        "low": interval.low,
        "high": interval.high,
        "real": interval.low > 0 or interval.high < 0,
    }


def generalised_accuracy(answers: Answers, unseen: list[int]) -> dict[str, float]:
    """Mean accuracy per class over seen and over unseen classes, all classes being possible answers, and their harmonic
    mean: Xian et al., 2019, arXiv:1707.00600, eq. 10 and 11."""
    correct = answers.correct()
    present = np.unique(answers.labels)
    mean = {
        kind: float(np.mean([correct[answers.labels == label].mean() for label in labels])) if labels else 0.0
        for kind, labels in (
            ("unseen", [label for label in present if label in unseen]),
            ("seen", [label for label in present if label not in unseen]),
        )
    }
    total = mean["seen"] + mean["unseen"]
    return {**mean, "harmonic_mean": 2 * mean["seen"] * mean["unseen"] / total if total else 0.0}


def verdict(chosen: str, entry: dict, leads: list[dict], baseline: str | None = BASELINE) -> str:
    """Two sentences for a reader in a hurry: which strategy won, and whether transfer beat training from scratch."""
    test = entry["test"]
    first = (
        f"{chosen} was chosen on the validation images and answers {test['accuracy']:.1%} of the test images correctly "
        f"({test['low']:.1%} to {test['high']:.1%})."
    )
    if chosen == baseline:
        return f"{first} No transfer did better on validation than training from scratch."
    against = next((item for item in leads if item["strategy"] == chosen and item["over"] == baseline), None)
    if against is None:
        return f"{first} There is no {BASELINE} entry to compare transfer with."
    points = f"{100 * against['difference']:+.1f} points ({100 * against['low']:+.1f} to {100 * against['high']:+.1f})"
    if against["low"] > 0:
        return f"{first} Transfer beat training from scratch by {points} on the same images."
    if against["high"] < 0:
        return f"{first} Negative transfer: on the test images it is {points} against training from scratch."
    return f"{first} Against training from scratch that is {points}: these test images cannot tell the two apart."

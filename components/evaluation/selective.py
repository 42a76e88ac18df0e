"""Answering only where the model is sure: what accuracy it buys, and at what confidence to draw the line."""

from __future__ import annotations

import numpy as np


def threshold(confidence: np.ndarray, coverage: float) -> float:
    """The confidence from which on to answer, so that at least this share of the images [N] is answered.

    No label is looked at, so it can be found wherever there are images. A coverage of 1 is to answer always, also what
    is less sure than anything seen here.
    """
    if coverage >= 1:
        return 0.0
    answered = max(int(np.ceil(round(coverage * len(confidence), 9))), 1)
    return float(np.sort(confidence)[-answered])


def at_threshold(confidence: np.ndarray, correct: np.ndarray, line: float) -> tuple[float, float | None]:
    """Share of the images [N] that are answered, and the accuracy on them: None where that is none."""
    answered = confidence >= line
    return float(answered.mean()), float(correct[answered].mean()) if answered.any() else None


def area_under_risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> float:
    """AURC: the error rate among the k surest images [N], averaged over k = 1 … N. Lower is better.

    Geifman & El-Yaniv, 2017, arXiv:1705.08500; the area: Geifman et al., 2019, arXiv:1805.08206. Images of the same
    confidence have no order: within such a group the errors count as spread evenly, the mean over all orders.
    """
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    errors = np.bincount(group, ~correct, len(sizes))
    return float((np.cumsum(np.repeat(errors / sizes, sizes)) / np.arange(1, len(confidence) + 1)).mean())

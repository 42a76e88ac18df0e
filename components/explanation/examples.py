"""Which answers are worth an explanation: mistakes that the model is sure of, and what it is right about."""

from __future__ import annotations

import numpy as np


def most_confident_right(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """probabilities [N, C], labels [N] -> places [at most count] of right answers: the most confident of each class,
    then the second of each, and so on; the more confident classes first."""
    answers, confidence = probabilities.argmax(1), probabilities.max(1)
    right = np.flatnonzero(answers == labels)
    right = right[np.argsort(-confidence[right], kind="stable")]
    turn = np.empty(len(right), dtype=np.int64)
    for value in np.unique(labels):
        places = np.flatnonzero(labels[right] == value)
        turn[places] = np.arange(len(places))
    return right[np.argsort(turn, kind="stable")[:count]]

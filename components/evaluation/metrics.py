"""How good a model's answers are. numpy only: what is seen here are logits and labels, never a model.

Throughout: logits [N, C], labels [N] int, answers [N] int (the class decided for).
"""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """[..., C] -> log-probabilities of the same shape, in double precision."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)  # keeps exp() from overflowing
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def probabilities(logits: np.ndarray) -> np.ndarray:
    return np.exp(log_softmax(logits))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def confusion(answers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """[C, C] counts; row: the true class, column: the answer."""
    return np.bincount(labels * classes + answers, minlength=classes**2).reshape(classes, classes)


def precision_recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class, each [C], from a confusion matrix. A class that is never answered has precision 0, as in
    scikit-learn."""
    hits = np.diag(counts).astype(np.float64)
    precision = hits / np.maximum(counts.sum(0), 1)
    recall = hits / np.maximum(counts.sum(1), 1)
    f1 = 2 * hits / np.maximum(counts.sum(0) + counts.sum(1), 1)
    return precision, recall, f1


def macro_f1(counts: np.ndarray) -> float:
    """Mean F1 over the classes that are there or were answered, from a confusion matrix: what scikit-learn calls
    "macro"."""
    there = counts.sum(0) + counts.sum(1) > 0
    return float(precision_recall_f1(counts)[2][there].mean())


def brier(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance between the probabilities and the truth as a vector of one 1 and zeros, from 0 to 2.

    Brier, 1950, Monthly Weather Review 78, in its original form: a sum over the classes, so with two of them it is
    twice the form that looks at one.
    """
    gaps = probabilities(logits)
    gaps[np.arange(len(labels)), labels] -= 1
    return float((gaps**2).sum(1).mean())


def reliability(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> list[dict[str, float]]:
    """Equal ranges of confidence, `low` to `high`: how many images fall in each, their mean confidence and accuracy.

    Empty ranges are left out. Guo et al., 2017, arXiv:1706.04599, sec. 2.
    """
    scores = probabilities(logits)
    confidence, correct = scores.max(1), scores.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    surety = np.bincount(which, confidence, bins)
    hits = np.bincount(which, correct, bins)
    return [
        {
            "low": index / bins,
            "high": (index + 1) / bins,
            "images": int(count[index]),
            "confidence": float(surety[index] / count[index]),
            "accuracy": float(hits[index] / count[index]),
        }
        for index in np.flatnonzero(count).tolist()
    ]


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over `bins` equal ranges of confidence, weighted by how many fall in
    each.

    Guo et al., 2017, arXiv:1706.04599, eq. 3.
    """
    gaps = [
        entry["images"] * abs(entry["confidence"] - entry["accuracy"]) for entry in reliability(logits, labels, bins)
    ]
    return float(sum(gaps) / len(labels))

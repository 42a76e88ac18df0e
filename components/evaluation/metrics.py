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


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over `bins` equal ranges of confidence, weighted by how many fall in
    each.

    Guo et al., 2017, arXiv:1706.04599, eq. 3.
    """
    scores = probabilities(logits)
    confidence, correct = scores.max(1), scores.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.bincount(which, confidence, bins) - np.bincount(which, correct.astype(np.float64), bins)
    return float(np.abs(gap).sum() / count.sum())

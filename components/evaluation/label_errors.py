"""Labels that look wrong: confident learning on out-of-fold probabilities.

Northcutt, Jiang & Chuang, 2021, "Confident learning: estimating uncertainty in dataset labels", JAIR 70,
arXiv:1911.00068, sec. 3. A classifier that never saw an image says what it shows. An image is counted as class j where
the probability of j is at least the mean one of the images labelled j: the classifier may be more sure of one class
than of another, and is held to its own average. Images labelled i and counted as j != i are the suspects.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from components.evaluation.metrics import log_softmax

L2 = (1e-1, 1e-2, 1e-3)
"""Penalties to choose from, beside the mean cross-entropy, for standardised features; falling, because each solution is
the start of the next."""
OPTIONS = {"maxiter": 200, "gtol": 1e-4}
RELIABLE = 0.7
"""Share of the errors of always guessing the largest class that a classifier must avoid before it may accuse anyone."""


class Suspects(NamedTuple):
    """`rows` [M], most suspicious first, and `suggestions` [M]: the classes they are counted as; `expected`: how many
    wrong labels there are by the estimate of the joint distribution of given and true labels, which also counts those
    that cannot be pointed at."""

    rows: np.ndarray
    suggestions: np.ndarray
    expected: float


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """probabilities [N, C], labels [N] -> counts [C, C] of given label by counted class, and the counted class [N] (-1
    where no class is probable enough). A class without an image is never counted."""
    classes = probabilities.shape[1]
    thresholds = np.full(classes, np.inf)
    for number in np.unique(labels):
        thresholds[number] = probabilities[labels == number, number].mean()
    enough = probabilities >= thresholds
    counted = np.where(enough.any(1), np.where(enough, probabilities, -1.0).argmax(1), -1)
    known = counted >= 0
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels[known], counted[known]), 1)
    return counts, counted


def suspects(probabilities: np.ndarray, labels: np.ndarray) -> Suspects:
    """probabilities [N, C] by a classifier that never saw the image, labels [N] -> the labels that look wrong, by
    falling normalised margin max_j p_j - p_label (the paper's ranking, with its sign turned)."""
    counts, counted = confident_joint(probabilities, labels)
    rows = np.flatnonzero((counted >= 0) & (counted != labels))
    every = np.arange(len(labels))
    others = probabilities.copy()
    others[every, labels] = -np.inf
    margin = others.max(1) - probabilities[every, labels]
    rows = rows[np.argsort(-margin[rows], kind="stable")]
    # Calibrated, so that each given label keeps its number of images: the counts leave unsure ones out.
    sums = counts.sum(1)
    wrong = 1.0 - counts.diagonal() / np.maximum(sums, 1)
    expected = float((np.bincount(labels, minlength=len(counts)) * wrong)[sums > 0].sum())
    return Suspects(rows, counted[rows], expected)


def out_of_fold(features: np.ndarray, labels: np.ndarray, classes: int, folds: int, seed: int) -> np.ndarray:
    """features [N, D], labels [N] -> probabilities [N, C] of each image by a logistic regression of the other folds.

    Of the penalties, the one with the lowest out-of-fold cross-entropy is taken. A class with a single image has none
    left to learn from, and is improbable in its fold.
    """
    spread = features.std(0)
    standardised = (features - features.mean(0)) / np.where(spread > 1e-12, spread, np.inf)
    one_hot = np.eye(classes)[labels]
    fold = stratified(labels, folds, seed)
    logs = np.zeros((len(L2), len(labels), classes))
    for number in np.unique(fold):
        held_out = fold == number
        weight = np.zeros((features.shape[1] + 1, classes))
        for penalty, l2 in enumerate(L2):
            weight = logistic(standardised[~held_out], one_hot[~held_out], l2, start=weight)
            logs[penalty, held_out] = log_softmax(standardised[held_out] @ weight[:-1] + weight[-1])
    losses = -(logs * one_hot).sum((1, 2))
    return np.exp(logs[losses.argmin()])


def logistic(features: np.ndarray, one_hot: np.ndarray, l2: float, start: np.ndarray) -> np.ndarray:
    """features [n, D], one_hot [n, C], start [D + 1, C] -> weights [D + 1, C], the last row of which is the offset: the
    minimum of the mean cross-entropy + l2 / 2 * |W|^2 without the offset (Bishop, 2006, sec. 4.3.4), by L-BFGS.

    `components.layers.linear_solvers` has the same for strategies, on any device; here it must start without torch.
    """
    from scipy.optimize import minimize

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = flat.reshape(start.shape)
        logs = log_softmax(features @ weight[:-1] + weight[-1])
        difference = (np.exp(logs) - one_hot) / len(features)
        value = -(one_hot * logs).sum() / len(features) + l2 / 2 * np.square(weight[:-1]).sum()
        gradient = np.vstack([features.T @ difference + l2 * weight[:-1], difference.sum(0)])
        return float(value), gradient.ravel()

    found = minimize(value_and_gradient, start.ravel(), jac=True, method="L-BFGS-B", options=OPTIONS)
    return found.x.reshape(start.shape)


def stratified(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """labels [N] -> fold [N]: each class is dealt out evenly, and the next class goes on where the last one ended."""
    fold = np.zeros(len(labels), np.int64)
    rng = np.random.default_rng(seed)
    dealt = 0
    for number in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == number))
        fold[rows] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    return fold


def is_reliable(accuracy: float, labels: np.ndarray) -> bool:
    """Whether a classifier that agrees with so many labels may accuse the others.

    Where it is often wrong itself, most of those that it contradicts are right. Measured on the handwritten digits with
    5 % of the labels wrong and features made worse step by step: where RELIABLE of the guesser's errors are just
    avoided, two thirds of the 60 first suspects are wrong labels; above 0.8, most of all suspects; at 0.4, a quarter
    of the first 60.
    """
    if not len(labels):
        return False
    guess = np.bincount(labels).max() / len(labels)
    return bool(guess < 1 and (accuracy - guess) / (1 - guess) >= RELIABLE)

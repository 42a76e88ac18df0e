"""How well a backbone suits a data set, told from the features of its images alone: nothing is trained.

LogME looks at the training images only: how plausible are their labels if they follow from the features by a linear
law? The ridge probe solves for such a law and answers other images by it, which is a number that people can read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOLERANCE = 1e-6
"""Relative change of the ratio of precisions at which LogME's iteration has settled."""
ITERATIONS = 1000
RANGE = 1e12
"""How far the ratio of precisions may leave the features' own scale, to either side: useless features and perfect ones
would have it infinite or zero."""
LEAST_NOISE = 1e-8
"""Share of a target's mean square. Where features explain the labels without any rest, the evidence has no maximum."""
PENALTIES = tuple(float(value) for value in np.logspace(2, -4, 13))
"""Among which the probe's is chosen, for features of spread 1; of equally good ones the strongest."""


def log_me(features: np.ndarray, labels: np.ndarray) -> float:
    """features [N, D], labels int [N] -> the log maximum evidence per image, the mean over one target for each class.

    You et al., 2021, "LogME: practical assessment of pre-trained models for transfer learning", arXiv:2102.11005, eq. 2
    and algorithm 1. Higher is better; only backbones that saw the same images with the same labels can be compared.
    """
    u, sigma = _spectrum(np.asarray(features, dtype=np.float64))
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    return float(np.mean([_evidence(target, u, sigma) for target in targets.T]))


def _evidence(target: np.ndarray, u: np.ndarray, sigma: np.ndarray) -> float:
    """target [N] and the features' spectrum -> the largest log p(target | features) / N.

    The model: target = features w + noise, where w has the precision alpha and the noise beta. The iteration finds
    their ratio. The paper starts it at 1; here it starts at the features' own scale, which makes the result the same
    for features in any unit. At the end beta is N / (|Fm - y|^2 + ratio |m|^2), where the evidence is greatest for that
    ratio; a direction in which no feature varies adds log(alpha / alpha) = 0.
    """
    count, rank = len(target), len(sigma)
    if not rank:
        return float(-0.5 * (np.log(2 * np.pi * np.mean(target**2)) + 1))
    along = (u.T @ target) ** 2
    rest = max(float(target @ target - along.sum()), LEAST_NOISE * float(target @ target))
    scale = float(sigma.mean())
    ratio = scale
    for _ in range(ITERATIONS):
        share = sigma / (sigma + ratio)
        # gamma / |m|^2 and (N - gamma) / |Fm - y|^2, gamma being the sum of the shares
        alpha = share.sum() / max((share**2 * along / sigma).sum(), np.finfo(np.float64).tiny)
        beta = (count - rank + (1 - share).sum()) / (((1 - share) ** 2 * along).sum() + rest)
        before, ratio = ratio, float(np.clip(alpha / beta, scale / RANGE, scale * RANGE))
        if abs(ratio - before) <= TOLERANCE * before:
            break
    kept = ratio / (sigma + ratio)
    noise = ((kept * along).sum() + rest) / count  # 1 / beta
    return float(0.5 * (np.log(kept).sum() / count - np.log(2 * np.pi * noise) - 1))


@dataclass(frozen=True)
class RidgeProbe:
    """Ridge regression onto one-hot labels: `weight` [D, C] and `offset` [C] for features as they come, `classes` [C]
    the labels; `l2`: the penalty chosen, and `correct` [N]: whether each training image is answered rightly by the
    probe that has not seen it."""

    classes: np.ndarray
    weight: np.ndarray
    offset: np.ndarray
    l2: float
    correct: np.ndarray

    def answers(self, features: np.ndarray) -> np.ndarray:
        """features [M, D] -> labels [M]."""
        return self.classes[(features @ self.weight + self.offset).argmax(1)]


def ridge_probe(features: np.ndarray, labels: np.ndarray) -> RidgeProbe:
    """features [N, D], labels int [N] -> the probe whose penalty has the least squared error of leave-one-out.

    That error takes no second solution: it is the residual over 1 - h, h the diagonal of the matrix that maps labels to
    answers (Rifkin & Lippert, 2007, "Notes on regularized least squares", MIT-CSAIL-TR-2007-025, eq. 15). Features are
    standardised by all training images, the left-out one included; the offset is not penalised. As in
    `components.layers.linear_solvers`, the penalty is N * l2.
    """
    given = np.asarray(features, dtype=np.float64)
    mean, spread = given.mean(0), given.std(0)
    spread = np.where(spread > 1e-12, spread, np.inf)
    x = (given - mean) / spread
    classes = np.unique(labels)
    one_hot = (labels[:, None] == classes).astype(np.float64)
    offset = one_hot.mean(0)
    u, sigma = _spectrum(x)
    along = u.T @ (one_hot - offset)
    best: tuple[float, float, np.ndarray] | None = None
    for l2 in PENALTIES:
        share = sigma / (sigma + len(x) * l2)
        residual = one_hot - offset - (u * share) @ along
        left_out = residual / (1 - 1 / len(x) - (u**2 @ share))[:, None]
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = error, l2, (one_hot - left_out).argmax(1) == one_hot.argmax(1)
    assert best is not None  # there are penalties
    _, l2, correct = best
    weight = (x.T @ (u / (sigma + len(x) * l2)) @ along) / spread[:, None]
    return RidgeProbe(classes, weight, offset - mean @ weight, l2, correct)


def _spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [N, D] -> its left singular vectors [N, R] and squared singular values [R] that are not zero.

    By the eigenvectors of the smaller of x x' and x' x, several times as fast as the singular value decomposition.
    """
    count, width = x.shape
    wide = width >= count
    sigma, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = sigma > max(sigma[-1], 0.0) * max(count, width) * np.finfo(np.float64).eps
    sigma, vectors = sigma[kept], vectors[:, kept]
    return (vectors if wide else x @ vectors / np.sqrt(sigma)), sigma

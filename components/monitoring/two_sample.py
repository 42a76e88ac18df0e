"""Classifier two-sample test: if a classifier can tell two samples apart, they differ.

Lopez-Paz & Oquab, 2017, arXiv:1610.06545. The classifier is Fisher's linear discriminant, for three reasons. It has a
closed form, so that it is trained anew for each of thousands of permutations. Its covariance needs no labels, so it is
the same for all of them. And each image can be left out of the means that judge it, so every image trains and every
image tests.

The paper's test, a binomial one on a held-out half, throws away half of a small window, and is not valid for scores
that were cross-fitted, since they depend on one another. A permutation test that repeats the training is valid. What it
counts is the distance between the scores' means instead of the share on the right side of a threshold: that is worth
more where the samples hardly differ (Kübler et al., 2022, arXiv:2102.05573).
"""

from __future__ import annotations

import numpy as np

SHRINKAGE = 0.1
"""Added to the diagonal of the correlation matrix: directions in which the images hardly vary at all are not trusted.
Blur, noise and a slight turn show in just such directions, though. Of 0.01 to 1, those up to 0.1 find them best, with
128 features and with 1,024; the larger it is, the better another mix of classes is found."""


def whitened(features: np.ndarray) -> np.ndarray:
    """Standardised features [N, D] -> the same shape, uncorrelated but for what `SHRINKAGE` leaves."""
    covariance = features.T @ features / len(features)
    covariance[np.diag_indices_from(covariance)] += SHRINKAGE
    return np.linalg.solve(np.linalg.cholesky(covariance), features.T).T


def separation(white: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Whitened features [N, D] and which images are in which window, [W, N, b] of 0 and 1 -> [W, b]: how far apart the
    discriminant puts a window's images and the reference's, those not in the last window, each left out of the means
    that make its own score.

    That is the squared Mahalanobis distance of the means, without what it is in samples of one distribution: about 0
    for equal means (it may fall below).
    """
    norms = np.einsum("nd,nd->n", white, white)
    sums = [white.T @ members for members in inside]
    rest = len(white) - inside[-1].sum(0)
    reference = (white.sum(0)[:, None] - sums[-1]) / rest
    of_reference = (norms.sum() - norms @ inside[-1]) / rest**2
    found = np.empty(inside[:, 0].shape)
    for window, members in enumerate(inside):
        size = members.sum(0)
        difference = sums[window] / size - reference
        found[window] = np.einsum("db,db->b", difference, difference) - norms @ members / size**2 - of_reference
    return found


def area(white: np.ndarray, window: np.ndarray, reference: np.ndarray) -> float:
    """Whitened features [N, D] and two masks [N] -> the area under the ROC curve: the chance that an image of the
    window gets a higher score than one of the reference. 0.5 is no difference, 1 is none in common."""
    difference = white[window].mean(0) - white[reference].mean(0)
    norms = np.einsum("nd,nd->n", white, white)
    inside = white[window] @ difference - norms[window] / window.sum()
    outside = np.sort(white[reference] @ difference + norms[reference] / reference.sum())
    below, not_above = np.searchsorted(outside, inside, "left"), np.searchsorted(outside, inside, "right")
    return float((below + not_above).mean() / (2 * len(outside)))

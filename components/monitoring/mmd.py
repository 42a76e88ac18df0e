"""Maximum mean discrepancy of two samples in numpy: how far apart the distributions are that they came from.

Gretton et al., 2012, JMLR 13 (eq. 3, the unbiased estimate); the kernel is that of `components.losses.mmd`, a mean of
Gaussians as in Long et al., 2015, arXiv:1502.02791, sec. 3.1. It sees any difference between distributions, not only
that of their means.
"""

from __future__ import annotations

import numpy as np

MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the median squared distance. Each is twice the one before: the code relies on it."""


def kernel(features: np.ndarray) -> np.ndarray:
    """features [N, D] -> float32 [N, N]: the mean over `MULTIPLIERS` m of exp(-|x - y|^2 / (m * median)).

    The median of all squared distances between different points sets the scale. Where it is 0, because most points are
    the same, it is the mean of those that are not.
    """
    squared = np.einsum("nd,nd->n", features, features)
    distance = np.maximum(squared[:, None] + squared - 2 * (features @ features.T), 0)
    apart = distance[np.triu_indices(len(distance), 1)]
    scale = float(np.median(apart))
    if scale == 0:
        scale = float(apart[apart > 0].mean()) if apart.any() else 1.0
    power = np.exp(-distance / (MULTIPLIERS[-1] * scale)).astype(np.float32)
    total = power.copy()
    for _ in MULTIPLIERS[1:]:
        power *= power  # half the multiplier
        total += power
    np.fill_diagonal(total, len(MULTIPLIERS))
    return total / len(MULTIPLIERS)


def squared_mmd(kernel: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """kernel [N, N] and which images are in which window, [W, N, b] of 0 and 1 -> [W, b]: squared MMD of each window
    from the reference, which is all that is not in the last window; that one holds the others.

    About 0 for equal distributions (it may fall below); at least two images in each.
    """
    # A point's likeness to itself says nothing about the distribution. What all pairs have in common cancels out, and
    # sums of what is left are exact enough in single precision.
    others = kernel - (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
    np.fill_diagonal(others, 0)
    rows = others.sum(1)
    largest = inside[-1]
    to_largest = others @ largest
    of_largest = _dot(largest, to_largest)
    outside = len(kernel) - largest.sum(0)
    within_reference = (rows.sum() - 2 * (rows @ largest) + of_largest) / (outside * (outside - 1))
    found = np.empty(inside[:, 0].shape)
    for window, members in enumerate(inside):
        size = members.sum(0)
        within = _dot(members, others @ members) if window < len(inside) - 1 else of_largest
        across = rows @ members - _dot(members, to_largest)
        found[window] = within / (size * (size - 1)) + within_reference - 2 * across / (size * outside)
    return found


def witness(kernel: np.ndarray, window: np.ndarray) -> np.ndarray:
    """kernel [N, N] and a mask [N] of the images in the window -> [n] of its n images: their mean likeness to the
    window's other images, less that to the reference. High where the window has gathered and the reference has not
    been (the empirical witness function of Gretton et al., sec. 2.3)."""
    inside = kernel[window]
    likeness = (inside[:, window].sum(1) - kernel.diagonal()[window]) / (window.sum() - 1)
    return likeness - inside[:, ~window].mean(1)


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[N, b] and [N, b] -> [b]"""
    return np.einsum("nb,nb->b", first, second)

"""Whether the model's answers have changed: how sure they are, and which classes they name."""

from __future__ import annotations

import numpy as np


def distance(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """values [N] and which images are in which window, [W, N, b] of 0 and 1 -> [W, b]: the largest difference between
    the distribution functions of a window and of the reference, those not in the last window (Kolmogorov-Smirnov)."""
    order = np.argsort(values, kind="stable")
    last = np.append(np.diff(values[order]) > 0, True)  # equal values are one step of the function
    ascending = inside[:, order]
    outside = np.cumsum(1 - ascending[-1], axis=0)[last]
    rest = outside[-1]
    found = np.empty(inside[:, 0].shape)
    for window, members in enumerate(ascending):
        reached = np.cumsum(members, axis=0)[last]
        size = reached[-1]
        # Whole numbers until the end: equal distances are equal, whatever the deal.
        found[window] = np.abs(reached * rest - outside * size).max(0) / (size * rest).astype(np.float64)
    return found


def tables(label: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """label [N] and which images are in which window, [W, N, b] of 0 and 1 -> counts [W, 2, C, b] of the C classes that
    occur, in the window and in the reference, those not in the last window."""
    _, index = np.unique(label, return_inverse=True)
    one_hot = np.eye(index.max() + 1, dtype=np.float32)[index]
    outside = one_hot.T @ (1 - inside[-1])
    return np.stack([np.stack([one_hot.T @ members, outside]) for members in inside])


def divergence(counts: np.ndarray) -> np.ndarray:
    """counts [W, 2, C, b] -> [W, b]: the G statistic of independence (Sokal & Rohlf, 1981, Biometry, sec. 17.4), twice
    the log likelihood ratio of two distributions of classes over one."""
    table = counts.astype(np.float64)
    return 2 * (
        _sum_log(table, (1, 2))
        - _sum_log(table.sum(1), 1)
        - _sum_log(table.sum(2), 1)
        + _sum_log(table.sum((1, 2)), ())
    )


def _sum_log(counts: np.ndarray, axes: tuple[int, ...] | int) -> np.ndarray:
    """The sum of k log k, which is 0 for k = 0."""
    return (counts * np.log(np.maximum(counts, 1))).sum(axes)


def moved(counts: np.ndarray) -> np.ndarray:
    """counts [W, 2, C, b] -> [W, b]: the total variation between the shares of the classes: the least share of the
    window's images that would have to be of another class for it to be as the reference."""
    shares = counts / counts.sum(2, keepdims=True, dtype=np.float64)
    return np.abs(shares[:, 0] - shares[:, 1]).sum(1) / 2

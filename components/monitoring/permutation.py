"""Tests by permutation: how far apart two samples look when chance alone decides which image is in which.

If nothing has changed, the images of the reference and of the windows come from one distribution, and every way of
dealing them out is as likely as the one that was observed. So the chance of a number as large as the observed one is
known without any assumption about the images, and however few there are. Each deal counts the observed one too
(Phipson & Smyth, 2010, Statistical Applications in Genetics and Molecular Biology 9, eq. 2), so no p is 0.

All tests look at the same deals. That makes the correction for having many of them exact, and far less severe than one
that must assume the worst: windows overlap, and what moves one number moves the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

BATCH = 128
"""Deals that are held at once: memory does not grow with their number."""
DECIMALS = 9
"""Numbers that differ by rounding alone are the same number."""


def deals(images: int, sizes: Sequence[int], permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Which of `images` images are in which window: batches float32 [W, images, b] of 0 and 1, `permutations` + 1 deals
    in all.

    In the first, the windows are as they were observed: of s images, the last s. In the others chance has put the
    images in order. Windows overlap as they did, and those that are in no window are the reference.
    """
    random = np.random.default_rng(seed)
    left = permutations + 1
    while left > 0:
        count = min(BATCH, left)
        order = random.permuted(np.tile(np.arange(images, dtype=np.int32), (count, 1)), axis=1)
        if left == permutations + 1:
            order[0] = np.arange(images)
        inside = np.zeros((len(sizes), images, count), np.float32)
        for window, size in enumerate(sizes):
            inside[window, order[:, images - size :].T, np.arange(count)] = 1
        yield inside
        left -= count


def chances(statistics: np.ndarray) -> np.ndarray:
    """statistics [T, P + 1] of T tests in P + 1 deals -> p of the same shape: the share of deals with at least as much.

    The observed deal's p are in column 0; those of the others are what it is compared with.
    """
    rounded = np.round(statistics, DECIMALS)
    ascending = np.sort(rounded, axis=1)
    deals = rounded.shape[1]
    below = np.stack([np.searchsorted(row, values, "left") for row, values in zip(ascending, rounded, strict=True)])
    return (deals - below) / deals


def adjusted(p: np.ndarray) -> np.ndarray:
    """p [T, P + 1] as `chances` gives them -> [T]: those of the observed deal, corrected for T tests at once.

    The chance that any test at all falls below one of them when nothing has changed is at most that number, exactly: it
    is counted over the deals how often the smallest p of all tests is as small. Having stepped past the smallest, only
    the tests that remain are counted (the step-down procedure with the smallest p of Westfall & Young, 1993,
    Resampling-Based Multiple Testing, algorithm 2.8).
    """
    order = np.argsort(p[:, 0], kind="stable")
    smallest_of_rest = np.minimum.accumulate(p[order][::-1], axis=0)[::-1]
    as_small = (smallest_of_rest <= p[order, :1]).mean(1)
    found = np.empty(len(p))
    found[order] = np.maximum.accumulate(as_small)
    return found


def least(tests: int, alpha: float) -> int:
    """Permutations that it takes for one of so many tests to be significant at `alpha`: where the observed deal leads
    in one, each of the other tests may have a deal of its own that leads."""
    return int(np.ceil(tests / alpha - 1e-9)) - 1

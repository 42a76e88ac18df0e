"""How far a number could be off: percentile bootstrap over test images (Efron & Tibshirani, 1993, ch. 13)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def mean_interval(values: np.ndarray, *, confidence: float, resamples: int, seed: int) -> Interval:
    """Of the mean of values [N], one for each image."""
    rng = np.random.default_rng(seed)
    # One resample at a time: a table of all of them would be resamples * N large.
    means = np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)])
    edge = (1 - confidence) / 2
    low, high = np.quantile(means, [edge, 1 - edge])
    return Interval(float(values.mean()), float(low), float(high))


def paired_interval(a: np.ndarray, b: np.ndarray, *, confidence: float, resamples: int, seed: int) -> Interval:
    """Of mean(a) - mean(b), where a [N] and b [N] belong to the same images.

    Images are drawn together with both values: what is hard for both cancels out, which is why this is far sharper than
    comparing two intervals.
    """
    return mean_interval(a - b, confidence=confidence, resamples=resamples, seed=seed)

"""How far a number could be off, where it is a mean over images alone: percentile bootstrap (Efron & Tibshirani, 1993,
ch. 13), or a formula for a count. Several seeds and several strategies at once: `bootstrap`."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, count: int, *, confidence: float) -> Interval:
    """Of a share: Wilson, 1927, Journal of the American Statistical Association 22.

    It stays inside 0 and 1 and keeps a width where all or none are hits, which is why it, and not the bootstrap, is for
    the few images of a class or a slice. Nothing counted is nothing known: 0 to 1.
    """
    if count == 0:
        return Interval(0.0, 0.0, 1.0)
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), hits / count
    centre = share + z * z / (2 * count)
    reach = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    low, high = (centre - reach) / (1 + z * z / count), (centre + reach) / (1 + z * z / count)
    return Interval(share, 0.0 if hits == 0 else low, 1.0 if hits == count else high)


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

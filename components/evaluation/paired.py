"""The difference of two shares that were counted on the same images, with bounds that hold for few of them, too.

Only images on which the two differ tell anything. The bounds are Tango's, 1998, Statistics in Medicine 17, 891-908:
those differences that a score test does not refuse, with the correction for continuity of Edwards, 1948,
Psychometrika 13. A bootstrap would do for thousands of images, but where two models differ on four and one of them is
right on all four, it calls a lead certain that a coin gives once in sixteen; and where they differ on none, it knows no
doubt at all.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from components.evaluation.intervals import Interval

HALVINGS = 40
"""Of the range in which a bound is looked for: to 1e-12."""


def share_difference(first: np.ndarray, second: np.ndarray, *, confidence: float, comparisons: int = 1) -> Interval:
    """Of mean(first) - mean(second), where first and second [N], true or false, belong to the same images.

    `comparisons`: how many such intervals shall hold at once, with that confidence: each is made wider for it
    (Bonferroni). Of no image nothing is known: -1 to 1.
    """
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    return from_counts(ahead, behind, len(first), confidence=confidence, comparisons=comparisons)


def from_counts(ahead: int, behind: int, images: int, *, confidence: float, comparisons: int = 1) -> Interval:
    """`ahead`: images for the first alone, `behind`: for the second alone, of so many `images`."""
    if images == 0:
        return Interval(0.0, -1.0, 1.0)
    z = -NormalDist().inv_cdf((1 - confidence) / (2 * comparisons))
    value = (ahead - behind) / images
    low = -_bound(behind, ahead, images, z)
    return Interval(value, low, _bound(ahead, behind, images, z))


def score(ahead: int, behind: int, images: int, difference: float) -> float:
    """How far the counts lie below what a true `difference` would give, in standard errors under that difference; 0
    where they do not by more than half a step of the counts' difference, which is 2."""
    short = images * difference - (ahead - behind) - 1
    if short <= 0:
        return 0.0
    # The likeliest share of `behind` if that is the difference (Tango, 1998, eq. 10).
    a = 2 * images
    b = -(ahead + behind) + (2 * images - ahead + behind) * difference
    c = -behind * difference * (1 - difference)
    share = ((b * b - 4 * a * c) ** 0.5 - b) / (2 * a)
    variance = images * (2 * share + difference * (1 - difference))
    return short / variance**0.5 if variance > 0 else float("inf")


def _bound(ahead: int, behind: int, images: int, z: float) -> float:
    """The largest difference that is not refused."""
    low, high = (ahead - behind) / images, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if score(ahead, behind, images, middle) <= z else (low, middle)
    return high

"""Champion and challenger on the same images: part by part, and in what their probabilities are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.evaluation.intervals import Interval
from components.evaluation.paired import share_difference
from components.params import EvaluateParams
from components.promotion.answers import Answers

BINS = 15
"""Equal ranges of confidence, as in `metrics.expected_calibration_error`."""
ELEMENTS = 2_000_000
"""Drawn images that are held at once: memory does not grow with the number of resamples."""


@dataclass(frozen=True)
class Difference:
    """A class or a slice: the accuracy of both on its `images`, and challenger minus champion."""

    name: str
    images: int
    challenger: float
    champion: float
    difference: Interval


def differences(
    parts: Mapping[str, np.ndarray], challenger: Answers, champion: Answers, *, confidence: float, comparisons: int
) -> tuple[Difference, ...]:
    """`parts`: name -> bool [N], the images in it. The intervals hold together with all others of `comparisons`."""
    return tuple(
        Difference(
            name,
            int(mask.sum()),
            float(challenger.right[mask].mean()),
            float(champion.right[mask].mean()),
            share_difference(
                challenger.right[mask], champion.right[mask], confidence=confidence, comparisons=comparisons
            ),
        )
        for name, mask in parts.items()
        if mask.any()
    )


def calibration_error(answers: Answers) -> float:
    """Guo et al., 2017, arXiv:1706.04599, eq. 3, from each image's confidence and whether it was right: the mean over
    ranges of confidence of the gap between the two, weighted by how many fall in each."""
    return float(_errors(answers, np.arange(len(answers.right))[None])[0])


def calibration_gain(challenger: Answers, champion: Answers, params: EvaluateParams, seed: int) -> Interval:
    """The challenger's calibration error minus the champion's; images are resampled with the answers of both.

    A calibration error is a sum of absolute values, so resampling raises it, the smaller one more. What the resamples
    are off in the mean is therefore taken from the bounds (Efron & Tibshirani, 1993, ch. 10).
    """
    images = len(champion.right)
    value = calibration_error(challenger) - calibration_error(champion)
    rng = np.random.default_rng(seed)
    block = max(ELEMENTS // images, 1)
    found = []
    for start in range(0, params.resamples, block):
        drawn = rng.integers(images, size=(min(block, params.resamples - start), images))
        found.append(_errors(challenger, drawn) - _errors(champion, drawn))
    resamples = np.concatenate(found)
    edge = (1 - params.confidence) / 2
    low, high = np.quantile(resamples - resamples.mean(), [edge, 1 - edge])
    return Interval(value, value + float(low), value + float(high))


def _errors(answers: Answers, drawn: np.ndarray) -> np.ndarray:
    """Calibration errors [B] of resamples, given by the rows [B, N] that were drawn."""
    gaps = answers.confidence - answers.right
    ranges = np.minimum((answers.confidence * BINS).astype(int), BINS - 1)
    places = np.arange(len(drawn))[:, None] * BINS + ranges[drawn]
    sums = np.bincount(places.ravel(), gaps[drawn].ravel(), minlength=len(drawn) * BINS)
    return np.abs(sums.reshape(len(drawn), BINS)).sum(1) / drawn.shape[1]

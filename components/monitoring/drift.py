"""Whether the images that come in are still those that the model was tested with.

Four numbers compare each window of recent images with the reference, and each is asked how often chance alone makes it
as large: `features` and `classifier` look at what the backbone makes of the images, `confidence` and `classes` at the
model's answers. Nothing needs a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from components.errors import DataError, ParamsError
from components.monitoring import mmd, permutation, shifts, two_sample

TESTS = {
    "features": "distance between the distributions of the features (MMD); 0 is none",
    "classifier": "how well a linear classifier tells recent images from the reference (AUC); 0.5 or less: not at all",
    "confidence": "largest difference between the distributions of the confidence (Kolmogorov-Smirnov); 0 is none",
    "classes": "share of the images that would have to be of another class (total variation)",
}
"""What is tested, and what its effect means."""


class Sample(NamedTuple):
    """Images as the model sees them, in the order in which they came: features [n, D], its decision (label [n]) and the
    decision's probability (confidence [n])."""

    features: np.ndarray
    label: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Test:
    """One number of one window, the last so many images. `effect`: its size in the units of `TESTS`; `p`: how likely
    that much is if nothing has changed; `p_adjusted`: that anything among all tests of all windows would be as rare."""

    name: str
    window: int
    statistic: float
    effect: float
    p: float
    p_adjusted: float
    drifted: bool


@dataclass(frozen=True)
class Verdict:
    """`scores` [n]: how far each image of the largest window has moved, in its order: its mean likeness to the window,
    less that to the reference, both of features that do not correlate. Where a part of a window has changed, that names
    the images of this part far better than the likeness that the test of the features counts."""

    drift: bool
    tests: list[Test]
    scores: np.ndarray


def compare(reference: Sample, windows: Mapping[int, Sample], *, alpha: float, permutations: int, seed: int) -> Verdict:
    """Drift, if any test of any window is significant at `alpha` after the correction for all of them: when nothing has
    changed, a check says so with a probability of at most `alpha`.

    `windows`: size -> the last so many images; the smaller ones are the end of the largest.

    Raises DataError for samples that cannot be compared, ParamsError for too few permutations to ever find drift.
    """
    sizes = sorted(windows)
    if not sizes:
        raise DataError("there is no window to compare with the reference")
    tests = len(TESTS) * len(sizes)
    if permutations < permutation.least(tests, alpha):
        raise ParamsError(
            f"monitor.permutations is {permutations}, but {tests} tests at monitor.alpha {alpha:g} need at least "
            f"{permutation.least(tests, alpha)}: with fewer, no drift is ever found"
        )
    largest = windows[sizes[-1]]
    _check("the reference", reference, reference)
    for size in sizes:
        _check(f"the window of {size}", windows[size], reference)
        end = largest.features[len(largest.label) - len(windows[size].label) :]
        if not np.array_equal(windows[size].features, end):
            raise DataError(f"the window of {size} images is not the end of that of {sizes[-1]}")

    features = _standardised(np.concatenate([reference.features, largest.features]))
    label = np.concatenate([reference.label, largest.label])
    confidence = np.concatenate([reference.confidence, largest.confidence])
    kernel, white = mmd.kernel(features), two_sample.whitened(features)

    counts = [len(windows[size].label) for size in sizes]
    statistics = np.concatenate(
        [
            np.stack(
                [
                    mmd.squared_mmd(kernel, inside),
                    two_sample.separation(white, inside),
                    shifts.distance(confidence, inside),
                    shifts.divergence(shifts.tables(label, inside)),
                ]
            )
            for inside in permutation.deals(len(label), counts, permutations, seed)
        ],
        axis=2,
    )  # [tests, windows, permutations + 1]
    p = permutation.chances(statistics.reshape(tests, -1))
    adjusted = permutation.adjusted(p).reshape(len(TESTS), -1)
    p = p[:, 0].reshape(len(TESTS), -1)
    observed = np.arange(len(label)) >= len(label) - np.array(counts)[:, None]  # [windows, images]
    effects = [
        np.sqrt(np.maximum(statistics[0, :, 0], 0)),
        [two_sample.area(white, window, ~observed[-1]) for window in observed],
        statistics[2, :, 0],
        shifts.moved(shifts.tables(label, observed[:, :, None].astype(np.float32)))[:, 0],
    ]
    results = [
        Test(
            name=name,
            window=size,
            statistic=float(statistics[test, window, 0]),
            effect=float(effects[test][window]),
            p=float(p[test, window]),
            p_adjusted=float(adjusted[test, window]),
            drifted=bool(adjusted[test, window] <= alpha),
        )
        for window, size in enumerate(sizes)
        for test, name in enumerate(TESTS)
    ]
    return Verdict(any(test.drifted for test in results), results, mmd.witness(mmd.kernel(white), observed[-1]))


def _standardised(features: np.ndarray) -> np.ndarray:
    """features [N, D] -> float32 [N, D] of mean 0 and standard deviation 1, or of 0 where all are the same.

    By all images together: were it by the reference alone, the observed deal would differ from the others before any
    image has changed.
    """
    values = features.astype(np.float64)
    values -= values.mean(0)
    spread = values.std(0)
    constant = spread <= 1e-6 * np.abs(features).max(0)
    return np.where(constant, 0, values / np.where(constant, 1, spread)).astype(np.float32)


def _check(name: str, sample: Sample, reference: Sample) -> None:
    count = len(sample.label)
    if count < 2:
        raise DataError(f"{name} has {count} images, but a comparison takes at least 2")
    if sample.features.ndim != 2 or len(sample.features) != count or sample.confidence.shape != (count,):
        raise DataError(
            f"{name} has {count} labels, but features {list(sample.features.shape)} and confidence "
            f"{list(sample.confidence.shape)}"
        )
    if sample.features.shape[1] != reference.features.shape[1]:
        raise DataError(
            f"{name} has {sample.features.shape[1]} features, but the reference has {reference.features.shape[1]}: "
            "they are not of the same model"
        )
    for what, finite in (
        ("features", np.isfinite(sample.features).all(1)),
        ("confidence", np.isfinite(sample.confidence)),
    ):
        wrong = int((~finite).sum())
        if wrong:
            raise DataError(f"{name} has {wrong} images whose {what} are no finite numbers")

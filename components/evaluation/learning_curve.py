"""Accuracy against the number of labels: what was measured, how sure that is, and what more labels would bring.

A learning curve is well described by an inverse power law, error = a + b k^-c for k labels per class: Hestness et al.,
2017, arXiv:1712.00409; surveyed, with the cases where it fails, by Viering & Loog, 2022, arXiv:2103.10948. `a` is the
error that no number of labels removes. What the law says beyond the measured numbers is an extrapolation, and says so.

Throughout: labels [K] (per class, rising), accuracy and error [..., K], correct [K, S, N] (bool: was seed s right on
test image n when it was trained with k labels). A seed draws its own labels and initial weights; all share the images.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from components.evaluation.intervals import Interval

FORESEEN = 10
"""How many times the largest measured number of labels is still foretold."""
LEAST_TO_FIT = 3
"""A law with three parameters needs as many numbers of labels."""
EXPONENTS = (0.05, 3.0)
"""Bounds of c. Hestness et al. found 0.07 to 0.35 on large sets; the first few labels of a class bring far more."""


class PowerLaw(NamedTuple):
    """error = a + b k^-c; each a number or an array [...] of equal shape."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def error(self, labels: float) -> np.ndarray:
        """[...]: the error that the law gives for a number of labels per class."""
        return self.a + self.b * float(labels) ** -self.c

    def labels(self, error: float) -> np.ndarray:
        """[...]: the number of labels per class with which the law comes down to `error`; infinite where it never
        does."""
        with np.errstate(divide="ignore", over="ignore"):
            room = np.maximum(error - self.a, 0.0)
            found = (self.b / np.where(room > 0, room, 1.0)) ** (1 / self.c)
        return np.where((room > 0) | (self.b <= 0) & (self.a <= error), found, np.inf)


class Needed(NamedTuple):
    """How many labels per class a goal takes. `how`: "measured" (the fewest labels reach it already), "interpolated"
    (between two measured numbers), "extrapolated" (by the law), or "not foreseeable" (`labels` is infinite). `low` and
    `high` bound it; `high` is infinite where it cannot be bounded."""

    how: Literal["measured", "interpolated", "extrapolated", "not foreseeable"]
    labels: float
    low: float
    high: float


def band(correct: np.ndarray, confidence: float) -> Interval:
    """correct [S, N] -> the mean accuracy, and between which bounds it lies for other seeds and other test images.

    Seeds and images are crossed random effects: var(mean) = MS_images / SN + max(0, MS_seeds - MS_residual) / SN, a
    t-interval with Satterthwaite's degrees of freedom (Searle, Casella & McCulloch, 1992, ch. 4). One seed alone shows
    the images' part only. Where all answers are alike nothing varies, and the images bound it by Wilson's interval.
    """
    from scipy.special import ndtri, stdtrit

    seeds, images = correct.shape
    values = correct.astype(np.float64)
    mean = float(values.mean())
    edge = (1 + confidence) / 2
    if mean in (0.0, 1.0) or images == 1:
        z2 = float(ndtri(edge)) ** 2
        centre = (mean + z2 / (2 * images)) / (1 + z2 / images)
        half = np.sqrt(z2 * mean * (1 - mean) / images + (z2 / (2 * images)) ** 2) / (1 + z2 / images)
        return Interval(mean, max(0.0, float(centre - half)), min(1.0, float(centre + half)))
    by_seed, by_image = values.mean(1), values.mean(0)
    of_images = by_image.var(ddof=1) / images
    of_seeds = of_chance = 0.0
    if seeds > 1:
        rest = values - by_seed[:, None] - by_image + mean
        of_seeds = by_seed.var(ddof=1) / seeds
        of_chance = (rest**2).sum() / ((seeds - 1) * (images - 1)) / (seeds * images)
    variance = of_images + max(0.0, of_seeds - of_chance)
    uncertainty = of_images**2 / (images - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0)
    freedom = variance**2 / uncertainty if uncertainty > 0 else float(images - 1)
    half = float(stdtrit(max(1.0, freedom), edge)) * float(np.sqrt(variance))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def monotone(accuracy: np.ndarray) -> np.ndarray:
    """[..., K] -> the nearest curve that never falls: more labels do not make a strategy worse, chance does.

    Isotonic regression by its max-min formula (Barlow et al., 1972, ch. 1).
    """
    count = accuracy.shape[-1]
    sums = np.concatenate([np.zeros((*accuracy.shape[:-1], 1)), np.cumsum(accuracy, -1)], -1)
    columns = []
    for i in range(count):
        lowest = [
            np.min([(sums[..., last + 1] - sums[..., first]) / (last + 1 - first) for last in range(i, count)], axis=0)
            for first in range(i + 1)
        ]
        columns.append(np.max(lowest, axis=0))
    return np.stack(columns, -1)


def weights(error: np.ndarray, images: int) -> np.ndarray:
    """error [K], the share of `images` -> [K], sums to 1: the inverse of the binomial variance, up to a factor that all
    share. Half an image is added to either side, or an error of 0 would outweigh everything."""
    share = (error * images + 0.5) / (images + 1)
    inverse = 1 / (share * (1 - share))
    return inverse / inverse.sum()


def fit(labels: np.ndarray, error: np.ndarray, weight: np.ndarray) -> PowerLaw:
    """labels [K], error [..., K], weight [K] -> the power law of least weighted squares, a and b not negative.

    For a given c it is linear in a and b, and solved exactly; c is searched on a grid that is refined twice (variable
    projection: Golub & Pereyra, 1973), so that the answer needs no starting point and is the same every time.
    """
    flat = error.reshape(-1, error.shape[-1])
    weight = weight / weight.sum()
    grid = np.tile(np.geomspace(*EXPONENTS, 61), (len(flat), 1))
    rows = np.arange(len(flat))
    for refined in range(3):
        a, b, squares = _linear(labels[None, None] ** -grid[..., None], flat[:, None], weight)
        best = squares.argmin(1)
        if refined < 2:
            low, high = grid[rows, np.maximum(best - 1, 0)], grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
            grid = np.geomspace(low, high, 31, axis=1)
    shape = error.shape[:-1]
    return PowerLaw(*(found[rows, best].reshape(shape) for found in (a, b, grid)))


def _linear(basis: np.ndarray, error: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """basis [M, G, K], error [M, 1, K] -> a, b and the sum of squares, each [M, G]: least squares with a, b >= 0."""
    mean_x, mean_e = (basis * weight).sum(-1), (error * weight).sum(-1)
    around = basis - mean_x[..., None]
    slope = (around * weight * error).sum(-1) / np.maximum((around**2 * weight).sum(-1), 1e-30)
    through_zero = (basis * weight * error).sum(-1) / (basis**2 * weight).sum(-1)
    b = np.where(mean_e - slope * mean_x < 0, through_zero, np.maximum(slope, 0.0))
    a = np.maximum(mean_e - b * mean_x, 0.0)
    squares = ((error - a[..., None] - b[..., None] * basis) ** 2 * weight).sum(-1)
    return a, b, squares


def needed(labels: np.ndarray, accuracy: np.ndarray, law: PowerLaw | None, goal: float) -> np.ndarray:
    """labels [K], accuracy [..., K] -> [...]: with how many labels per class `goal` is reached: between two measured
    numbers by interpolation in log k, beyond them by the law; infinite where that is not foreseeable."""
    risen = monotone(accuracy)
    reached = risen >= goal - 1e-12
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high = np.take_along_axis(risen, first[..., None], -1)[..., 0]
    low = np.take_along_axis(risen, before[..., None], -1)[..., 0]
    share = np.where(first > 0, (goal - low) / np.where(high > low, high - low, 1.0), 1.0).clip(0.0, 1.0)
    inside = labels[before] * (labels[first] / labels[before]) ** share
    beyond = np.full(risen.shape[:-1], np.inf) if law is None else np.maximum(law.labels(1 - goal), labels[-1])
    beyond = np.where(beyond > FORESEEN * labels[-1], np.inf, beyond)
    return np.where(reached.any(-1), inside, beyond)


def resampled(correct: np.ndarray, count: int, seed: int) -> np.ndarray:
    """correct [K, S, N] -> accuracy [count, K] with seeds and test images drawn again, the same for every k.

    Both are drawn (Owen, 2007, "The pigeonhole bootstrap", arXiv:0712.1111: slightly too wide rather than too narrow).
    Of S seeds S - 1 are drawn, which makes the variance of so few unbiased (Rao & Wu, 1988). A single seed stays.
    """
    numbers, seeds, images = correct.shape
    rng = np.random.default_rng(seed)
    flat = correct.reshape(numbers * seeds, images).astype(np.float64)
    by_seed = np.empty((count, numbers, seeds))
    for index in range(count):  # one at a time: a table of all draws would be count * N large
        times = np.bincount(rng.integers(images, size=images), minlength=images)
        by_seed[index] = (flat @ times / images).reshape(numbers, seeds)
    chosen = rng.integers(seeds, size=(count, 1, max(1, seeds - 1)))
    return np.take_along_axis(by_seed, np.broadcast_to(chosen, (count, numbers, chosen.shape[2])), 2).mean(2)


class LearningCurve:
    """One strategy's curve: labels per class [K], rising, and its answers correct [K, S, N]."""

    def __init__(
        self, labels: tuple[int, ...], correct: np.ndarray, *, confidence: float, resamples: int, seed: int
    ) -> None:
        self.labels = np.array(labels, dtype=np.float64)
        self.correct = correct
        self.confidence = confidence
        self.accuracy = correct.mean((1, 2))
        self._resamples = resamples
        self._seed = seed

    def bands(self) -> list[Interval]:
        """For each number of labels the mean over seeds with its interval."""
        return [band(answers, self.confidence) for answers in self.correct]

    @cached_property
    def law(self) -> PowerLaw | None:
        """The fitted power law; None where too few numbers of labels were measured."""
        return self._fit(self.accuracy)

    @cached_property
    def _again(self) -> tuple[np.ndarray, PowerLaw | None]:
        """The accuracies [R, K] of the resamples, and their laws."""
        accuracy = resampled(self.correct, self._resamples, self._seed)
        return accuracy, self._fit(accuracy)

    def _fit(self, accuracy: np.ndarray) -> PowerLaw | None:
        if len(self.labels) < LEAST_TO_FIT:
            return None
        return fit(self.labels, 1 - accuracy, weights(1 - self.accuracy, self.correct.shape[2]))

    def predicted(self, labels: float) -> Interval:
        """The accuracy that the law gives for a number of labels, with its interval. There must be a law."""
        again = self._again[1]
        assert self.law is not None
        assert again is not None
        return self._interval(1 - float(self.law.error(labels)), 1 - again.error(labels))

    def gain(self, labels: float, more: float) -> Interval | None:
        """What `more` labels per class bring to a strategy that has `labels`: a difference of accuracies. None without
        a law, and where even `labels` lies beyond what is foretold."""
        law, again = self.law, self._again[1]
        if law is None or again is None or labels + more > FORESEEN * self.labels[-1]:
            return None
        differences = again.error(labels) - again.error(labels + more)
        return self._interval(float(law.error(labels) - law.error(labels + more)), differences)

    def labels_needed(self, goal: float) -> Needed:
        """How many labels per class the goal, an accuracy, takes."""
        found = float(needed(self.labels, self.accuracy, self.law, goal))
        again = needed(self.labels, self._again[0], self._again[1], goal)
        edge = (1 - self.confidence) / 2
        # Not interpolated between two draws: one of them may be infinite.
        low, high = (float(v) for v in np.quantile(again, [edge, 1 - edge], method="nearest"))
        if not np.isfinite(found):
            return Needed("not foreseeable", found, low, high)
        low, high = min(low, found), max(high, found)
        if monotone(self.accuracy)[-1] < goal - 1e-12:
            return Needed("extrapolated", found, low, high)
        return Needed("interpolated" if found > self.labels[0] else "measured", found, low, high)

    def _interval(self, value: float, draws: np.ndarray) -> Interval:
        edge = (1 - self.confidence) / 2
        low, high = np.quantile(draws, [edge, 1 - edge])
        return Interval(value, min(float(low), value), max(float(high), value))

"""Numbers that depend on which images were drawn and which seeds were trained: how far all of them could be off.

Images and seeds are resampled independently, each image with the answers of every seed and every strategy: the
pigeonhole bootstrap of Owen, 2007, Annals of Applied Statistics 1. One set of resamples serves all strategies, so that
any two of them are compared on the same draws: what is hard for both cancels out.

Few seeds are the difficulty. Resampling S of them shows only (S - 1) / S of their variance, so S - 1 are drawn (Rao &
Wu, 1988); and the percentiles of so few are too narrow by far, so intervals are widened, with the reasoning of
Hesterberg, 2015, arXiv:1411.5279, for small samples, by the ratio of Student's t to the normal quantile. The degrees of
freedom follow Satterthwaite, 1946: with one seed, or seeds that hardly differ, they are about the number of images, and
nothing is widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

ELEMENTS = 2_000_000
"""How many counts are held at once: memory does not grow with the number of images or resamples."""


@dataclass(frozen=True)
class Draws:
    """A number of each of K things: `per_seed` [K, S], its resamples [B, K], out of so many `images`."""

    per_seed: np.ndarray
    resamples: np.ndarray
    images: int

    @property
    def value(self) -> np.ndarray:
        """[K]: the mean over seeds."""
        return self.per_seed.mean(1)

    def minus(self, first: np.ndarray, second: np.ndarray) -> Draws:
        """The differences of P pairs, given by index: first [P] minus second [P]."""
        return Draws(
            self.per_seed[first] - self.per_seed[second],
            self.resamples[:, first] - self.resamples[:, second],
            self.images,
        )

    def standard_error(self) -> np.ndarray:
        """[K]"""
        return self.resamples.std(0, ddof=1)

    def degrees_of_freedom(self) -> np.ndarray:
        """[K]: of the standard error, between those of the seeds, S - 1, and those of the images, N - 1."""
        total = self.standard_error() ** 2
        seeds = self.per_seed.shape[1]
        of_seeds = np.minimum(self.per_seed.var(1, ddof=1) / seeds, total) if seeds > 1 else np.zeros(len(total))
        return satterthwaite(total - of_seeds, of_seeds, self.images, seeds)

    def bounds(self, confidence: float, lowest: float, highest: float) -> tuple[np.ndarray, np.ndarray]:
        """[K] and [K]: percentiles of the resamples, widened for few seeds, within what the number can be."""
        from scipy.special import stdtrit

        edge = (1 - confidence) / 2
        widening = stdtrit(self.degrees_of_freedom(), 1 - edge) / NormalDist().inv_cdf(1 - edge)
        low, high = np.quantile(self.resamples, [edge, 1 - edge], axis=0)
        low, high = (self.value + widening * (bound - self.value) for bound in (low, high))
        return np.clip(low, lowest, highest), np.clip(high, lowest, highest)

    def p(self) -> np.ndarray:
        """[K]: how likely so large a value, either way, if in truth it is zero.

        From the standard error and Student's t: a share of the resamples could not be smaller than one of them, and a
        correction for hundreds of comparisons needs it to.
        """
        from scipy.special import stdtr

        error = self.standard_error()
        size = np.divide(np.abs(self.value), error, out=np.zeros(len(error)), where=error > 0)
        certain = (error == 0) & (self.value != 0)
        return np.where(certain, 0.0, np.minimum(2 * stdtr(self.degrees_of_freedom(), -size), 1.0))


def satterthwaite(of_images: np.ndarray, of_seeds: np.ndarray, images: int, seeds: int) -> np.ndarray:
    """Degrees of freedom [K] of the sum of two variances of a mean, over N images and over S seeds."""
    parts = of_images**2 / max(images - 1, 1) + of_seeds**2 / max(seeds - 1, 1)
    largest = np.full(np.shape(parts), max(images - 1.0, 1.0))
    return np.divide((of_images + of_seeds) ** 2, parts, out=largest, where=parts > 0)


def two_way(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Bounds of the mean of values [S, N], many enough in N for its formula: no bootstrap, the same two variances."""
    from scipy.special import stdtrit

    seeds, images = values.shape
    of_images = np.asarray(values.mean(0).var(ddof=1) / images)
    of_seeds = np.asarray(values.mean(1).var(ddof=1) / seeds if seeds > 1 else 0.0)
    degrees = satterthwaite(of_images, of_seeds, images, seeds)
    reach = float(stdtrit(degrees, (1 + confidence) / 2) * np.sqrt(of_images + of_seeds))
    return float(values.mean()) - reach, float(values.mean()) + reach


def accuracy_and_macro_f1(
    decisions: Sequence[np.ndarray], labels: np.ndarray, classes: int, *, resamples: int, seed: int
) -> tuple[Draws, Draws]:
    """Of K strategies with decisions [S, N] to the same images, labels [N].

    All that both numbers need of a resample are counts of (seed, answer, right or not); for each strategy they are the
    product of a sparse table of zeros and ones with the images' multiplicities. The counts are whole numbers, so the
    result does not depend on the order of summation.
    """
    seeds, images = decisions[0].shape
    rng = np.random.default_rng(seed)
    seeds_drawn = max(seeds - 1, 1)
    of_seeds = _multiplicities(rng, seeds, seeds_drawn, resamples)  # [S, B]
    tables = [_table(answers, labels, classes) for answers in decisions]
    truth = _table(labels[None], labels, classes)
    accuracy, f1 = np.empty((resamples, len(tables))), np.empty((resamples, len(tables)))
    block = max(ELEMENTS // (images + 2 * seeds * classes), 1)
    for start in range(0, resamples, block):
        part = slice(start, min(start + block, resamples))
        drawn = _multiplicities(rng, images, images, part.stop - start).astype(np.float32)  # [N, block]
        present = _counts(truth, drawn, 1, classes)[1][0]
        for index, table in enumerate(tables):
            per_seed = _scores(*_counts(table, drawn, seeds, classes), present)
            # Divided last: six times a sixth is not quite one, and that would pass for a spread where there is none.
            accuracy[part, index], f1[part, index] = (
                (score * of_seeds[:, part]).sum(0) / seeds_drawn for score in per_seed
            )
    whole = np.ones((images, 1), np.float32)
    present = _counts(truth, whole, 1, classes)[1][0]
    points = [_scores(*_counts(table, whole, seeds, classes), present) for table in tables]
    return (
        Draws(np.stack([point[0][:, 0] for point in points]), accuracy, images),
        Draws(np.stack([point[1][:, 0] for point in points]), f1, images),
    )


def _multiplicities(rng: np.random.Generator, things: int, drawn: int, resamples: int) -> np.ndarray:
    """[things, B]: how often each of so many things is drawn, in each of B resamples with replacement."""
    which = rng.integers(things, size=(resamples, drawn))
    flat = which * resamples + np.arange(resamples)[:, None]
    return np.bincount(flat.ravel(), minlength=things * resamples).reshape(things, resamples)


def _table(answers: np.ndarray, labels: np.ndarray, classes: int):
    """[S * C * 2, N] sparse, 1 where an image was answered (seed, class, right or not)."""
    from scipy.sparse import csr_array

    seeds, images = answers.shape
    rows = (np.arange(seeds)[:, None] * classes + answers) * 2 + (answers == labels)
    columns = np.broadcast_to(np.arange(images), rows.shape)
    ones = np.ones(rows.size, np.float32)
    return csr_array((ones, (rows.ravel(), columns.ravel())), shape=(seeds * classes * 2, images))


def _counts(table, drawn: np.ndarray, seeds: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """hits [S, C, B] and answered [S, C, B] of B resamples."""
    counts = (table @ drawn).reshape(seeds, classes, 2, -1)
    return counts[:, :, 1], counts.sum(2)


def _scores(hits: np.ndarray, answered: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy [S, B] and macro-F1 [S, B]. A class that is neither there nor answered has no F1 and is left out."""
    either = answered + present
    f1 = np.divide(2 * hits, either, out=np.zeros(hits.shape), where=either > 0, dtype=np.float64)
    accuracy = hits.sum(1, dtype=np.float64) / present.sum(0, dtype=np.float64)
    return accuracy, f1.sum(1) / (either > 0).sum(1)

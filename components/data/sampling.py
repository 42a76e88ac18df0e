"""Which images make up an episode or a batch of pairs: numbers of images in, numbers of images out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from components.errors import DataError
from components.types import Sampling


class ByClass(NamedTuple):
    """Images sorted by class once, so that a thousand classes cost a step nothing: class number c has the images
    `order[starts[c] : starts[c] + counts[c]]`."""

    order: np.ndarray  # [N]
    starts: np.ndarray  # [C]
    counts: np.ndarray  # [C], each > 0


def by_class(labels: np.ndarray) -> ByClass:
    """labels [N] -> its classes, those without images left out, in the order of their labels."""
    _, starts, counts = np.unique(np.sort(labels, kind="stable"), return_index=True, return_counts=True)
    return ByClass(np.argsort(labels, kind="stable"), starts, counts)


def episode(images: ByClass, sampling: Sampling, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the support [n_way, k_shot] and of the query [n_way, n_query], a row for each class.

    Classes are drawn evenly, without repetition, from those with enough images. Vinyals et al., 2016, sec. 4.
    Raises DataError when there are fewer than n_way of them.
    """
    needed = sampling.k_shot + sampling.n_query
    enough = np.flatnonzero(images.counts >= needed)
    if len(enough) < sampling.n_way:
        raise DataError(
            f"an episode needs n_way = {sampling.n_way} classes with k_shot + n_query = {needed} labelled images each, "
            f"but the {sampling.domain} has {len(enough)} of them (of {len(images.counts)} classes)"
        )
    chosen = rng.choice(enough, sampling.n_way, replace=False)
    places = [images.starts[c] + rng.choice(images.counts[c], needed, replace=False) for c in chosen]
    rows = images.order[np.stack(places)]
    return rows[:, : sampling.k_shot], rows[:, sampling.k_shot :]


def pairs(images: ByClass, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices left [count] and right [count] of two different images each, and whether they are of one class [count]:
    every second pair is. Koch et al., 2015, sec. 3.4.

    Raises DataError when no class has two images, or when there is one class only.
    """
    twice = np.flatnonzero(images.counts >= 2)
    if not len(twice) or len(images.counts) < 2:
        raise DataError("pairs need two classes, and one of them with two labelled images")
    same = np.arange(count) % 2 == 0
    one, other = _two_of(np.full(count, len(images.counts)), rng)
    one = np.where(same, twice[rng.integers(0, len(twice), count)], one)
    first, second = _two_of(np.where(same, images.counts[one], 2), rng)
    left = np.where(same, first, rng.integers(0, images.counts[one]))
    right = np.where(same, second, rng.integers(0, images.counts[other]))
    other = np.where(same, one, other)
    return images.order[images.starts[one] + left], images.order[images.starts[other] + right], same


def _two_of(counts: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """counts [n], each > 1 -> two different whole numbers below each, all such pairs being equally likely."""
    first, second = rng.integers(0, counts), rng.integers(0, counts - 1)
    return first, second + (second >= first)

"""Which images make up an episode or a batch of pairs: numbers of images in, numbers of images out."""

from __future__ import annotations

import numpy as np

from components.errors import DataError
from components.types import Sampling


def episode(labels: np.ndarray, sampling: Sampling, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """labels [N] -> indices of the support [n_way, k_shot] and of the query [n_way, n_query], a row for each class.

    Classes are drawn evenly, without repetition, from those with enough images. Vinyals et al., 2016, sec. 4.
    Raises DataError when there are fewer than n_way of them.
    """
    classes, counts = np.unique(labels, return_counts=True)
    needed = sampling.k_shot + sampling.n_query
    enough = classes[counts >= needed]
    if len(enough) < sampling.n_way:
        raise DataError(
            f"an episode needs n_way = {sampling.n_way} classes with k_shot + n_query = {needed} labelled images each, "
            f"but the {sampling.domain} has {len(enough)} of them (of {len(classes)} classes)"
        )
    chosen = rng.choice(enough, sampling.n_way, replace=False)
    rows = np.stack([rng.choice(np.flatnonzero(labels == label), needed, replace=False) for label in chosen])
    return rows[:, : sampling.k_shot], rows[:, sampling.k_shot :]


def pairs(labels: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """labels [N] -> indices left [count] and right [count] of two different images each, and whether they are of one
    class [count]: every second pair is. Koch et al., 2015, sec. 3.4.

    Raises DataError when no class has two images, or when there is one class only.
    """
    classes, counts = np.unique(labels, return_counts=True)
    twice = classes[counts >= 2]
    if not len(twice) or len(classes) < 2:
        raise DataError("pairs need two classes, and one of them with two labelled images")
    same = np.arange(count) % 2 == 0
    left, right = np.empty(count, np.int64), np.empty(count, np.int64)
    for index in range(count):
        if same[index]:
            left[index], right[index] = rng.choice(np.flatnonzero(labels == rng.choice(twice)), 2, replace=False)
        else:
            one, other = rng.choice(classes, 2, replace=False)
            left[index], right[index] = (
                rng.choice(np.flatnonzero(labels == one)),
                rng.choice(np.flatnonzero(labels == other)),
            )
    return left, right, same

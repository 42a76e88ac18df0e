"""Pictures that are the same, though their files are not: encoded again, resized, brightened.

A test image whose twin was trained on is no test. Of each picture a thumbnail of 16x16 is kept; two are compared by the
normalised correlation of their thumbnails' edges (1 for the same picture, about 0 for unrelated ones):

- edges, because brightness over large areas is what all pictures of one kind share, and what tells them apart is finer;
- of contrast squashed by tanh, because brightening cuts highlights off, and cut-off highlights must not count;
- in colour, because a red lamp and a green one are two pictures.

A flipped, turned or clearly cropped picture is another picture here, and so is one without colour beside its coloured
twin. A picture without contrast is like none: whether two blank pages are one cannot be seen.

Comparing each with each is quadratic, so it is done on sketches first: the coordinates of an image in the directions in
which images vary most, and the length of the rest. The product of two sketches is never below the correlation
(Cauchy-Schwarz), so nothing is missed by looking at the few pairs whose sketches agree.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SIDE = 16  # pixels a side of a thumbnail
BANDS = 4  # into which its rows are cut
BLANK = 1.0  # grey levels: a spread below it is noise
SKETCH = 64  # numbers in a sketch
SAMPLE = 512  # images in which the sketch's directions are found
ITERATIONS = 3  # in finding them
BLOCK = 2048  # images compared with as many others at a time: 16 MiB of products
ROUNDING = 1e-4  # by which the bound may come out too low


def thumbnails(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S, 3] -> float16 [N, 16, 16, 3]: the mean of the area under each cell."""
    side = pixels.shape[1]
    bands, across = _bands(side), _area_weight(side)
    found = np.empty((len(pixels), SIDE, SIDE, 3), np.float16)
    for image, thumbnail in zip(pixels, found, strict=True):
        lines = image.reshape(side, side * 3)
        rows = np.concatenate([weight @ lines[first:last].astype(np.float32) for first, last, weight in bands])
        thumbnail[:] = across @ rows.reshape(SIDE, side, 3)
    return found


@lru_cache(maxsize=4)
def _area_weight(side: int) -> np.ndarray:
    """[16, side]: how much of each thumbnail cell lies over each pixel of a row."""
    cells, places = np.arange(SIDE)[:, None] * side / SIDE, np.arange(side)
    overlap = np.minimum(cells + side / SIDE, places + 1) - np.maximum(cells, places)
    return (overlap.clip(0) * SIDE / side).astype(np.float32)


@lru_cache(maxsize=4)
def _bands(side: int) -> list[tuple[int, int, np.ndarray]]:
    """`_area_weight` without most of its zeros: for each band of cells, the pixels from first to last that they lie
    over, and their weights [16 / BANDS, last - first]. A quarter of the work, and products too small for BLAS to start
    threads for, of which each of a pool's processes would start some."""
    weight = _area_weight(side)
    bands = []
    for cells in np.split(weight, BANDS):
        under = np.flatnonzero(cells.any(0))
        bands.append((int(under[0]), int(under[-1]) + 1, cells[:, under[0] : under[-1] + 1].copy()))
    return bands


def edges(thumbnail: np.ndarray) -> np.ndarray:
    """[N, 16, 16, 3] -> [N, 1440] of length 1, or 0 for a blank image: products of two are their similarity."""
    values = thumbnail.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    spread = np.sqrt(np.square(values).mean(axis=(1, 2, 3), keepdims=True))
    values = np.tanh(values / np.maximum(spread, BLANK))
    count = len(values)
    across, down = np.diff(values, axis=2).reshape(count, -1), np.diff(values, axis=1).reshape(count, -1)
    found = np.concatenate([across, down], axis=1)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.where((spread[:, :, 0, 0] < BLANK) | (length == 0), 0.0, found / np.maximum(length, 1e-12))


def closest(
    thumbnail: np.ndarray, images: np.ndarray, others: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """thumbnails [K, 16, 16, 3], which may be memory-mapped, and the numbers int64 [N] and [M] of two groups of them ->
    for each of the N the most similar of the M, as index int64 [N] into these (-1: none is at least `threshold` alike)
    and similarity float32 [N]. Of equals the first is taken.

    The time grows with N · M, the memory does not.
    """
    index, similarity = np.full(len(images), -1), np.zeros(len(images), np.float32)
    if not len(images) or not len(others):
        return index, similarity
    directions = _directions(thumbnail, images, others)
    others_sketch = _sketch(thumbnail, others, directions)
    for start in range(0, len(images), BLOCK):
        sketch = _sketch(thumbnail, images[start : start + BLOCK], directions)
        for other_start in range(0, len(others), BLOCK):
            bound = sketch @ others_sketch[other_start : other_start + BLOCK].T
            if bound.max() < threshold - ROUNDING:
                continue
            agree = bound >= threshold - ROUNDING
            rows, columns = np.flatnonzero(agree.any(1)), np.flatnonzero(agree.any(0))
            left, right = thumbnail[images[rows + start]], thumbnail[others[columns + other_start]]
            exact = edges(left) @ edges(right).T
            best = exact.argmax(1)
            value = exact[np.arange(len(rows)), best]
            better = (value >= threshold) & (value > similarity[rows + start])
            index[rows[better] + start] = columns[best[better]] + other_start
            similarity[rows[better] + start] = value[better]
    return index, np.minimum(similarity, 1.0)


def _directions(thumbnail: np.ndarray, images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """[1440, at most 63], orthonormal: in which the two groups' edges vary most, judged by some of each."""
    some = [group[np.unique(np.linspace(0, len(group) - 1, SAMPLE // 2).astype(int))] for group in (images, others)]
    found = edges(thumbnail[np.concatenate(some)]).astype(np.float64)
    # Subspace iteration (Halko, Martinsson and Tropp, 2011, arXiv:0909.4061, algorithm 4.4) instead of a whole SVD: any
    # directions give a bound, and nearly the best a tight one.
    basis = np.random.default_rng(0).standard_normal((found.shape[1], SKETCH - 1))
    for _ in range(ITERATIONS):
        basis = _orthonormal(found.T @ (found @ basis))
    return basis.astype(np.float32)


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """[D, K] -> [D, at most K]: the same space. By the products of the columns, twice for accuracy: a QR decomposition
    is many small steps, each on all cores, and takes seconds where these are busy."""
    for _ in range(2):
        values, vectors = np.linalg.eigh(columns.T @ columns)
        kept = values > max(1e-9 * values.max(initial=0.0), 1e-30)
        columns = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
    return columns


def _sketch(thumbnail: np.ndarray, images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """[K, 16, 16, 3] and numbers [N] -> [N, 64]: coordinates along the directions, and the length of what they leave
    out."""
    found = np.empty((len(images), directions.shape[1] + 1), np.float32)
    for start in range(0, len(images), BLOCK):
        whole = edges(thumbnail[images[start : start + BLOCK]])
        part = whole @ directions
        rest = np.square(whole).sum(1) - np.square(part).sum(1)
        found[start : start + BLOCK] = np.column_stack([part, np.sqrt(rest.clip(0))])
    return found

"""Which of a stream's images a training step shows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from components.data import sampling


def seed_of(seed: int, name: str, number: int) -> int:
    """A seed for one purpose, `name`, at one step or epoch."""
    return zlib.crc32(f"{seed}/{name}/{number}".encode())


class Order:
    """The images of one stream in the order in which they are shown: a function of (seed, stream, position) alone.

    Every image is shown once before one is shown again. Several domains take turns, so that each is shown as often as
    every other, however large: the larger would drown the one that is more like what is adapted to. With `labels` [N]
    the classes of each, too, take turns.
    """

    def __init__(self, stream: str, sizes: Sequence[int], seed: int, labels: np.ndarray | None = None) -> None:
        """`sizes`: how many of the N images are of each domain, one domain after the other."""
        self._stream = stream
        self._seed = seed
        self._labels = labels
        self._sizes = sizes
        self._firsts = np.cumsum([0, *sizes[:-1]])

    def at(self, positions: np.ndarray) -> np.ndarray:
        """int64 [P], counted from the first step on -> numbers of images [P]."""
        count = len(self._sizes)
        found = np.empty(len(positions), np.int64)
        for domain in range(count):
            mine = positions % count == domain
            found[mine] = self._firsts[domain] + self._within(domain, positions[mine] // count)
        return found

    def _within(self, domain: int, positions: np.ndarray) -> list[int]:
        name = self._stream if len(self._sizes) == 1 else f"{self._stream}-{domain}"
        if self._labels is not None:
            return self._class_by_class(name, domain, positions)
        count = self._sizes[domain]
        return [self._permutation(f"{name}-order", p // count, count)[p % count] for p in positions]

    def _class_by_class(self, name: str, domain: int, positions: np.ndarray) -> list[int]:
        """Each class once, in random order, then each once more, and so on; the images of a class, too, are all shown
        once before the first is shown again."""
        images = self._by_class(domain)
        order = []
        for turn, place in zip(*np.divmod(positions, len(images.counts)), strict=True):
            number = self._permutation(f"{name}-classes", int(turn), len(images.counts))[place]
            count = int(images.counts[number])
            own = self._permutation(f"{name}-class-{number}", int(turn) // count, count)[turn % count]
            order.append(images.order[images.starts[number] + own])
        return order

    @cache  # noqa: B019 - an Order lives as long as its training
    def _by_class(self, domain: int) -> sampling.ByClass:
        assert self._labels is not None  # or nobody asks
        first = self._firsts[domain]
        return sampling.by_class(self._labels[first : first + self._sizes[domain]])

    @lru_cache(maxsize=32)  # noqa: B019 - as above
    def _permutation(self, name: str, epoch: int, count: int) -> np.ndarray:
        return np.random.default_rng(seed_of(self._seed, name, epoch)).permutation(count)

"""Prepared images as the batches that strategies ask for.

A batch is a function of (seed, stream, step) alone. So nothing about the data needs to be in a checkpoint: a resumed
training reads on exactly where it stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from components.data import sampling
from components.data.augment import AUGMENTATIONS
from components.data.prepared import Domain, Prepared
from components.errors import DataError
from components.types import Episode, Labelled, LabelSpace, Pairs, Preprocess, Sampling, Unlabelled

STREAMS = ("target", "source", "unlabelled", "episodes", "pairs")
"""target: labelled target training images; source: labelled source images; unlabelled: all target training images;
episodes, pairs: of labelled training images of one domain, as the strategy's `sampling` says."""
DRAWN = ("episodes", "pairs")


def crop(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """uint8 [B, S, S, 3] with S = preprocess.resize -> float [B, 3, size, size] in [0, 1]: the centre."""
    edge = (pixels.shape[1] - preprocess.size) // 2
    pixels = pixels[:, edge : edge + preprocess.size, edge : edge + preprocess.size]
    # The permuted tensor is channels_last in memory: the layout that convolutions are fastest in, at no cost.
    return pixels.permute(0, 3, 1, 2).float() / 255


def normalise(image: Tensor, preprocess: Preprocess) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> the network's input."""
    mean = torch.tensor(preprocess.mean, device=image.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std, device=image.device).view(1, 3, 1, 1)
    return (image - mean) / std


class Streams:
    """The data as a strategy sees it while training.

    Raises DataError when a stream is asked for that the data cannot fill.
    """

    def __init__(
        self,
        prepared: Prepared,
        preprocess: Preprocess,
        *,
        batch_size: int,
        augment: str,
        seed: int,
        device: torch.device | str = "cpu",
        draw: Sampling | None = None,
    ) -> None:
        self.label_space: LabelSpace = prepared.label_space
        self.batch_size = batch_size
        self._prepared = prepared
        self._preprocess = preprocess
        self._augment = AUGMENTATIONS[augment]
        self._seed = seed
        self._device = torch.device(device)
        self._sampling = draw or Sampling()
        self._task = next(iter(prepared.label_space.classes))

    def batch(self, stream: str, step: int) -> Labelled | Unlabelled | Episode | Pairs:
        """The batch that step number `step` trains on, augmented. Epochs follow one another without a short batch;
        episodes and pairs are drawn anew each step."""
        if stream in DRAWN:
            return self._drawn(stream, step)
        domain, rows = self._rows(stream)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        order = np.array([self._permutation(stream, p // len(rows))[p % len(rows)] for p in positions])
        generator = torch.Generator().manual_seed(self._mix(stream, step))
        return self._load(stream, domain, rows[order], generator)

    def batches(self, stream: str) -> Iterator[Labelled | Unlabelled]:
        """One pass over the stream in order, without augmentation; the last batch may be short."""
        domain, rows = self._rows(stream)
        for start in range(0, len(rows), self.batch_size):
            yield self._load(stream, domain, rows[start : start + self.batch_size], None)

    def split(self, name: str, domain: str = "target") -> Iterator[Labelled]:
        """One pass over a domain's labelled images of "val" or "test"."""
        return self._pass(self._prepared.domains[domain], name)

    def _pass(self, domain: Domain, name: str) -> Iterator[Labelled]:
        rows = domain.rows(name, labelled=True)
        for start in range(0, len(rows), self.batch_size):
            yield self._labelled(domain, rows[start : start + self.batch_size], None)

    def _drawn(self, stream: str, step: int) -> Episode | Pairs:
        domain, rows = self._rows(self._sampling.domain)
        images = self._by_class()
        rng = np.random.default_rng(self._mix(stream, step))
        generator = torch.Generator().manual_seed(self._mix(f"{stream}-augment", step))
        if stream == "pairs":
            left, right, same = sampling.pairs(images, self.batch_size, rng)
            sides = [self._image(domain, rows[side], generator) for side in (left, right)]
            return Pairs(*sides, torch.from_numpy(same).float().to(self._device))
        support, query = sampling.episode(images, self._sampling, rng)
        return Episode(*(self._own_classes(domain, rows[part], generator) for part in (support, query)))

    def _own_classes(self, domain: Domain, rows: np.ndarray, generator: torch.Generator) -> Labelled:
        """rows [n_way, n] -> their images, labelled by their place in the episode."""
        labels = torch.arange(rows.shape[0], device=self._device).repeat_interleave(rows.shape[1])
        return Labelled(self._image(domain, rows.reshape(-1), generator), {self._task: labels})

    @cache  # noqa: B019 - as below
    def _by_class(self) -> sampling.ByClass:
        domain, rows = self._rows(self._sampling.domain)
        return sampling.by_class(domain.labels[self._task][rows])

    @cache  # noqa: B019 - a Streams lives as long as its training, and there are three streams
    def _rows(self, stream: str) -> tuple[Domain, np.ndarray]:
        if stream not in STREAMS:
            raise DataError(f"there is no stream {stream!r}; choose from: {', '.join(STREAMS)}")
        domain = self._prepared.domains.get("source" if stream == "source" else "target")
        if domain is None:
            raise DataError(f"the stream {stream!r} needs source images, but data.source is not set")
        rows = domain.rows("train", labelled=None if stream == "unlabelled" else True)
        if not len(rows):
            raise DataError(f"the stream {stream!r} is empty: no training image fits it")
        return domain, rows

    def _mix(self, stream: str, number: int) -> int:
        return zlib.crc32(f"{self._seed}/{stream}/{number}".encode())

    @lru_cache(maxsize=8)  # noqa: B019 - as above
    def _permutation(self, stream: str, epoch: int) -> np.ndarray:
        return np.random.default_rng(self._mix(f"{stream}-order", epoch)).permutation(len(self._rows(stream)[1]))

    def _load(
        self, stream: str, domain: Domain, rows: np.ndarray, generator: torch.Generator | None
    ) -> Labelled | Unlabelled:
        if stream == "unlabelled":
            return Unlabelled(self._image(domain, rows, generator))
        return self._labelled(domain, rows, generator)

    def _labelled(self, domain: Domain, rows: np.ndarray, generator: torch.Generator | None) -> Labelled:
        labels = {task: torch.from_numpy(values[rows]).to(self._device) for task, values in domain.labels.items()}
        return Labelled(self._image(domain, rows, generator), labels)

    def _image(self, domain: Domain, rows: np.ndarray, generator: torch.Generator | None) -> Tensor:
        pixels = torch.from_numpy(domain.pixels[rows]).to(self._device)  # uint8 travels: a quarter of the bytes
        image = crop(pixels, self._preprocess)
        if generator is not None:
            image = self._augment(image, generator)
        return normalise(image, self._preprocess)

"""The pretrained backbone's features of many images: each image once, whatever else is asked for with it.

Every batch has one shape, and the last is padded: libraries choose how to multiply by the shape, so an image's last
bits would otherwise depend on how many others came with it. Like this a row is the same whether all are computed or it
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from components.backbones.base import Backbone
from components.data.features import Features, Key, Layout
from components.data.prepared import Prepared
from components.data.streams import crop, in_eval_mode, normalise, varied
from components.types import Preprocess

BATCH = 32
"""Images that a processor takes at once: enough for its libraries, and their activations stay small."""
COPIED = 4096
"""Rows that are in memory together while they are taken over."""


class Engine(Protocol):
    """A backbone on what computes it. `batch`: how many images it takes at once, no more and no fewer."""

    name: str
    batch: int
    preprocess: Preprocess

    def __call__(self, image: Tensor) -> np.ndarray:
        """Normalised images [batch, 3, H, W] on the CPU -> features [batch, D] float32."""
        ...


class TorchEngine:
    """In fp32, on the device that is given."""

    name = "torch"

    def __init__(self, backbone: Backbone, device: torch.device) -> None:
        self.batch = 256 if device.type == "cuda" else BATCH
        self.preprocess = backbone.preprocess
        self._device = device
        self._backbone = backbone.to(device=device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> np.ndarray:
        return self._backbone(image.to(self._device)).float().flatten(1).cpu().numpy()


@dataclass(frozen=True)
class Images:
    """Where the pixels of an image lie, by the sha256 of its file."""

    data: Prepared
    places: dict[str, tuple[str, int]]

    @classmethod
    def of(cls, data: Prepared) -> Images:
        # The target's come last: its pixels are taken where both domains have an image.
        names = sorted(data.domains, key="target".__eq__)
        return cls(data, {key: (name, row) for name in names for row, key in enumerate(data.domains[name].sha256)})

    def pixels(self, images: Sequence[str]) -> np.ndarray:
        """uint8 [B, S, S, 3]."""
        places = [self.places[name] for name in images]
        return np.stack([self.data.domains[domain].pixels[row] for domain, row in places])


def batch(
    images: Images, entries: Sequence[tuple[str, int]], preprocess: Preprocess, augment: str | None, size: int
) -> Tensor:
    """sha256 and view of at most `size` images -> normalised [size, 3, H, W], the last image repeated as padding."""
    names = [name for name, _ in entries]
    pixels = torch.from_numpy(images.pixels(names))
    image = crop(pixels, preprocess)
    for view in {view for _, view in entries if view}:
        rows = [row for row, entry in enumerate(entries) if entry[1] == view]
        assert augment is not None  # or there would be one view
        image[rows] = varied(pixels[rows], preprocess, augment, [names[row] for row in rows], view)
    image = normalise(image, preprocess)
    return torch.cat([image, image[-1:].expand(size - len(image), -1, -1, -1)])


def missing(layout: Layout, key: Key, known: Features | None) -> int:
    """How many rows of a table another one does not have."""
    return int((_places(layout, key, known) < 0).sum())


def fill(
    table: np.ndarray,
    layout: Layout,
    key: Key,
    known: Features | None,
    images: Images,
    engine: Engine,
    done: Callable[[int], None],
    threads: int = 1,
) -> int:
    """Fills a table [len(layout), D]: rows that `known` has are taken over, the others computed. `done` is told how
    many of these there are so far; returns how many there were.

    Each of the `threads` has a batch to itself: no thread waits for another at the end of every layer, which on a busy
    machine takes longer than the layer.
    """
    entries = layout.entries()
    places = _places(layout, key, known)
    taken = np.flatnonzero(places >= 0)
    for start in range(0, len(taken), COPIED):
        assert known is not None  # or nothing could be taken
        rows = taken[start : start + COPIED]
        table[rows] = known.table[places[rows]]
    absent = np.flatnonzero(places < 0).tolist()
    batches = [absent[start : start + engine.batch] for start in range(0, len(absent), engine.batch)]

    def compute(rows: list[int]) -> np.ndarray:
        image = batch(images, [entries[row] for row in rows], engine.preprocess, key.augment, engine.batch)
        return engine(image)[: len(rows)]

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        count = 0
        for rows, found in zip(batches, pool.map(compute, batches), strict=True):
            table[rows] = found
            done(count := count + len(rows))
    return len(absent)


def _places(layout: Layout, key: Key, known: Features | None) -> np.ndarray:
    """Where the known table has each row of a new one; -1 where it has not."""
    if known is None:
        return np.full(len(layout), -1)
    covered = [key.covers(known.key, view) for view in range(layout.views)]
    found = [known.layout.row(name, view) if covered[view] else None for name, view in layout.entries()]
    return np.array([-1 if place is None else place for place in found], dtype=np.int64)


def difference(features: np.ndarray, reference: np.ndarray) -> float:
    """features and reference [N, D] -> the largest over the images of |a - b| / |b|, Euclidean lengths."""
    apart = np.linalg.norm((features - reference).astype(np.float64), axis=1)
    lengths = np.linalg.norm(reference.astype(np.float64), axis=1)
    return float(np.divide(apart, lengths, out=np.where(apart > 0, np.inf, 0.0), where=lengths > 0).max(initial=0.0))


@torch.no_grad()
def estimated_seconds(backbone: Backbone) -> float:
    """What one image takes torch on one core, about: by what is computed, not by a clock, so that the same machine
    decides alike every time.

    Multiplications and additions of convolutions and linear layers, and the numbers that layers hand on, which decide
    where layers are thin. Measured in batches of 32 on a core with AVX-512: small_resnet 0.40 ms, MobileNetV2 34,
    ResNet-18 45; this says 0.5, 30 and 53.
    """
    operations = numbers = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal operations, numbers
        if isinstance(output, Tensor):
            numbers += output.numel()
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                operations += 2 * output.numel() * module.weight[0].numel()

    leaves = [module for module in backbone.modules() if not any(module.children())]
    handles = [module.register_forward_hook(count) for module in leaves]
    try:
        with in_eval_mode(backbone):
            backbone(backbone.example(1))
    finally:
        for handle in handles:
            handle.remove()
    return 12e-12 * operations + 1.2e-9 * numbers

"""Prepared images as the batches that strategies ask for.

A batch is a function of (seed, stream, step) alone. So nothing about the data needs to be in a checkpoint: a resumed
training reads on exactly where it stopped.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.data import sampling
from components.data.augmentation.geometry import random_part
from components.data.augmentation.mixing import MIXES
from components.data.augmentation.policies import AUGMENTATIONS, OF_PARTS
from components.data.features import Features, weights_digest
from components.data.joined import Joined, joined
from components.data.order import Order, seed_of
from components.data.prepared import HIDDEN, RECENT, Domain, Prepared
from components.errors import DataError
from components.types import Episode, Labelled, LabelSpace, Pairs, Preprocess, Sampling, Unlabelled

STREAMS = ("target", "source", "unlabelled", "episodes", "pairs")
"""target: labelled target training images; source: labelled source images; unlabelled: all target training images;
episodes, pairs: of labelled training images of one domain, as the strategy's `sampling` says.

Where there are recent images, these are what is adapted to. unlabelled: all recent training images; source: labelled
images of the source and of the target, which both are of another kind now; target: labelled images of the target and,
as far as somebody has labelled them, recent ones. A batch of images of two domains has as many of the one as of the
other."""
LABELLED = ("target", "source")
DRAWN = ("episodes", "pairs")


def crop(pixels: Tensor, preprocess: Preprocess, generator: torch.Generator | None = None) -> Tensor:
    """uint8 [B, S, S, 3] with S = preprocess.resize -> float [B, 3, size, size] in [0, 1]: the centre, or with a
    generator of every image a part anywhere, mirrored or not."""
    size = preprocess.size
    if generator is None:
        edge = (pixels.shape[1] - size) // 2
        pixels = pixels[:, edge : edge + size, edge : edge + size]
    else:
        pixels = random_part(pixels, size, generator)
    # The permuted tensor is channels_last in memory: the layout that convolutions are fastest in, at no cost.
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def normalise(image: Tensor, preprocess: Preprocess) -> Tensor:
    """[B, 3, H, W] in [0, 1] -> the network's input."""
    mean = torch.tensor(preprocess.mean, device=image.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocess.std, device=image.device).view(1, 3, 1, 1)
    return (image - mean) / std


def augmented(pixels: Tensor, preprocess: Preprocess, augment: str, generator: torch.Generator) -> Tensor:
    """Stored images as `crop` takes them -> what it gives, changed at random by a policy. Where more is stored than the
    network sees, a policy for photographs moves them by seeing another part."""
    if preprocess.resize > preprocess.size and augment in OF_PARTS:
        return OF_PARTS[augment](crop(pixels, preprocess, generator), generator)
    return AUGMENTATIONS[augment](crop(pixels, preprocess), generator)


def varied(pixels: Tensor, preprocess: Preprocess, augment: str, sha256: Sequence[str], view: int) -> Tensor:
    """`augmented`, each image of the batch as is its own in this view: whatever else is in the batch, and wherever it
    lies in it. `sha256` [B]: of their files."""
    seeds = [zlib.crc32(f"{name}/{view}".encode()) for name in sha256]
    parts = zip(pixels.split(1), seeds, strict=True)
    return torch.cat(
        [augmented(part, preprocess, augment, torch.Generator().manual_seed(seed)) for part, seed in parts]
    )


@contextmanager
def in_eval_mode(network: nn.Module) -> Generator[None]:
    """The network in eval mode for a while; then every module of it as it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Streams:
    """The data as a strategy sees it while training.

    `features`: of the pretrained backbone, where they have been computed; `sampler`, `mix`: see `Recipe`. Raises
    DataError when a stream is asked for that the data cannot fill.
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
        features: Features | None = None,
        sampler: str = "shuffled",
        mix: str = "none",
    ) -> None:
        self.label_space: LabelSpace = prepared.label_space
        self.batch_size = batch_size
        self._prepared = prepared
        self._preprocess = preprocess
        self._augment = augment
        self._balanced = sampler == "balanced"
        self._mixing = MIXES.get(mix)
        self._seed = seed
        self._device = torch.device(device)
        self._sampling = draw or Sampling()
        self._features = features
        self._task = next(iter(prepared.label_space.classes))

    def batch(self, stream: str, step: int) -> Labelled | Unlabelled | Episode | Pairs:
        """The batch that step number `step` trains on, augmented. Epochs follow one another without a short batch;
        episodes and pairs are drawn anew each step."""
        if stream in DRAWN:
            return self._drawn(stream, step)
        domain, rows = self._rows(stream)
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        generator = torch.Generator().manual_seed(seed_of(self._seed, stream, step))
        batch = self._load(stream, domain, rows[self._order(stream).at(positions)], generator)
        return self._mixed(batch, generator) if isinstance(batch, Labelled) else batch

    def batches(self, stream: str) -> Iterator[Labelled | Unlabelled]:
        """One pass over the stream in order, without augmentation; the last batch may be short."""
        domain, rows = self._rows(stream)
        for start in range(0, len(rows), self.batch_size):
            yield self._load(stream, domain, rows[start : start + self.batch_size], None)

    def split(self, name: str, domain: str = "target") -> Iterator[Labelled]:
        """One pass over a domain's labelled images of "val" or "test"; of recent ones, over all: their label may be
        hidden."""
        return self._pass(*self._held_out(name, domain))

    def features(
        self, backbone: nn.Module, name: str, views: int = 1, domain: str = "target"
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the backbone, in eval mode, gives for a stream or for what `split` gives of a domain: float
        [views * n, D], and labels by task, [views * n], each in the order of `batches` or `split`.

        Of `views` the first is the images as they are, all of them; in each further one every image is changed at
        random, the same in every call. They are taken from the features that were computed before if these are such a
        backbone's, weight by weight; else they are computed here.
        """
        images, rows = self._rows(name) if name in STREAMS else self._held_out(name, domain)
        labels = {task: torch.from_numpy(values[rows]).to(self._device) for task, values in images.labels.items()}
        found = None
        if self._features is not None and self._features.fits(weights_digest(backbone), self._preprocess):
            found = self._features.of([images.sha256[row] for row in rows], views)
        known = self._answers(backbone, images, rows, views) if found is None else torch.from_numpy(found)
        return known.to(self._device), {task: values.repeat(views) for task, values in labels.items()}

    @torch.no_grad()
    def _answers(self, backbone: nn.Module, domain: Domain | Joined, rows: np.ndarray, views: int) -> Tensor:
        augment = (self._features.key.augment if self._features is not None else None) or self._augment
        parts = []
        with in_eval_mode(backbone):
            for view in range(views):
                for start in range(0, len(rows), self.batch_size):
                    part = rows[start : start + self.batch_size]
                    pixels = torch.from_numpy(domain.pixels[part]).to(self._device)
                    if view:
                        image = varied(pixels, self._preprocess, augment, [domain.sha256[row] for row in part], view)
                    else:
                        image = crop(pixels, self._preprocess)
                    parts.append(backbone(normalise(image, self._preprocess)).float())
        return torch.cat(parts)

    def _held_out(self, name: str, domain: str) -> tuple[Domain, np.ndarray]:
        images = self._prepared.domains[domain]
        return images, images.rows(name, labelled=None if domain == RECENT else True)

    def class_counts(self, stream: str) -> dict[str, np.ndarray]:
        """How many of a stream's images are of each class: task -> [C]."""
        domain, rows = self._rows(stream)
        own = {task: domain.labels[task][rows] for task in self.label_space.classes}
        sizes = self.label_space.sizes()
        return {task: np.bincount(values[values >= 0], minlength=sizes[task]) for task, values in own.items()}

    def _pass(self, domain: Domain | Joined, rows: np.ndarray) -> Iterator[Labelled]:
        for start in range(0, len(rows), self.batch_size):
            yield self._labelled(domain, rows[start : start + self.batch_size], None)

    def _drawn(self, stream: str, step: int) -> Episode | Pairs:
        domain, rows = self._rows(self._sampling.domain)
        images = self._by_class(self._sampling.domain)
        rng = np.random.default_rng(seed_of(self._seed, stream, step))
        generator = torch.Generator().manual_seed(seed_of(self._seed, f"{stream}-augment", step))
        if stream == "pairs":
            left, right, same = sampling.pairs(images, self.batch_size, rng)
            sides = [self._image(domain, rows[side], generator) for side in (left, right)]
            return Pairs(*sides, torch.from_numpy(same).float().to(self._device))
        support, query = sampling.episode(images, self._sampling, rng)
        return Episode(*(self._own_classes(domain, rows[part], generator) for part in (support, query)))

    def _own_classes(self, domain: Domain | Joined, rows: np.ndarray, generator: torch.Generator) -> Labelled:
        """rows [n_way, n] -> their images, labelled by their place in the episode."""
        labels = torch.arange(rows.shape[0], device=self._device).repeat_interleave(rows.shape[1])
        return Labelled(self._image(domain, rows.reshape(-1), generator), {self._task: labels})

    @cache  # noqa: B019 - as below
    def _by_class(self, stream: str) -> sampling.ByClass:
        domain, rows = self._rows(stream)
        return sampling.by_class(domain.labels[self._task][rows])

    @cache  # noqa: B019 - a Streams lives as long as its training, and there are three streams
    def _rows(self, stream: str) -> tuple[Domain | Joined, np.ndarray]:
        if stream not in STREAMS:
            raise DataError(f"there is no stream {stream!r}; choose from: {', '.join(STREAMS)}")
        parts = [(domain, self._training(stream, domain)) for domain in self._domains(stream)]
        if not parts:
            raise DataError(f"the stream {stream!r} needs source images, but data.source is not set")
        parts = [(domain, rows) for domain, rows in parts if len(rows)]
        if not parts:
            raise DataError(f"the stream {stream!r} is empty: no training image fits it")
        if len(parts) == 1:
            return parts[0]
        return joined(parts), np.arange(sum(len(rows) for _, rows in parts))

    def _domains(self, stream: str) -> list[Domain]:
        """Whose training images a stream has."""
        data, recent = self._prepared, self._prepared.recent
        source = [data.domains["source"]] if "source" in data.domains else []
        if recent is None:
            return source if stream == "source" else [data.target]
        return {"source": [*source, data.target], "target": [data.target, recent], "unlabelled": [recent]}[stream]

    def _training(self, stream: str, domain: Domain) -> np.ndarray:
        rows = domain.rows("train", labelled=None if stream == "unlabelled" else True)
        if stream == "target" and domain is self._prepared.recent:
            # Whoever learns the target's further tasks reads this stream, too, and needs an answer to each of them.
            asked = [task for task, answers in self._prepared.target.labels.items() if (answers != HIDDEN).any()]
            rows = rows[np.all([domain.labels[task][rows] != HIDDEN for task in asked], axis=0)]
        return rows

    @cache  # noqa: B019 - as above
    def _order(self, stream: str) -> Order:
        images, rows = self._rows(stream)
        sizes = images.sizes if isinstance(images, Joined) else [len(rows)]
        balanced = self._balanced and stream in LABELLED
        return Order(stream, sizes, self._seed, images.labels[self._task][rows] if balanced else None)

    def _mixed(self, batch: Labelled, generator: torch.Generator) -> Labelled:
        if self._mixing is None:
            return batch
        sizes = self.label_space.sizes()
        # A label that is hidden has no class, and so no share of any.
        shares = {
            task: F.one_hot(own.clamp_min(0), sizes[task]).float() * (own >= 0)[:, None]
            for task, own in batch.labels.items()
        }
        return Labelled(*self._mixing(batch.image, shares, generator))

    def _load(
        self, stream: str, domain: Domain | Joined, rows: np.ndarray, generator: torch.Generator | None
    ) -> Labelled | Unlabelled:
        if stream == "unlabelled":
            return Unlabelled(self._image(domain, rows, generator))
        return self._labelled(domain, rows, generator)

    def _labelled(self, domain: Domain | Joined, rows: np.ndarray, generator: torch.Generator | None) -> Labelled:
        labels = {task: torch.from_numpy(values[rows]).to(self._device) for task, values in domain.labels.items()}
        return Labelled(self._image(domain, rows, generator), labels)

    def _image(self, domain: Domain | Joined, rows: np.ndarray, generator: torch.Generator | None) -> Tensor:
        pixels = torch.from_numpy(domain.pixels[rows]).to(self._device)  # uint8 travels: a quarter of the bytes
        if generator is None:
            image = crop(pixels, self._preprocess)
        else:
            image = augmented(pixels, self._preprocess, self._augment, generator)
        return normalise(image, self._preprocess)

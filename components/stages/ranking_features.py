"""Features of a sample of the prepared images by a backbone that is not the workspace's own: for the ranking alone, so
nothing is kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from components.backbones.base import Backbone
from components.data.streams import crop, normalise
from components.deployment import backbone_export, onnx_file
from components.runtimes.options import Options
from components.runtimes.session import open_session
from components.training.compute import Compute
from components.types import Preprocess

BATCH = 32
"""Images that are computed at once."""
Network = Callable[[np.ndarray], np.ndarray]
"""Normalised images float32 [B, 3, S, S] -> features float32 [B, D]."""


def stratified(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """labels [N] -> indices, rising, of at most so many images, each class with its share of them, drawn at random."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for number in np.unique(labels):
        own = drawn[labels[drawn] == number]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    return np.sort(np.argsort(place, kind="stable")[:most])


def on(backbone: Backbone, engine: str, compute: Compute) -> Network:
    """The backbone in fp32 on "onnxruntime" (the CPU's), with any size of batch, or on "torch"."""
    backbone.eval()
    if engine == "onnxruntime":
        content = onnx_file.content(backbone_export.export(backbone))
        session = open_session(content, "cpu", Options(threads=compute.threads))
        given, wanted = backbone_export.INPUT, backbone_export.OUTPUT
        return lambda image: session.run({given: image})[wanted].reshape(len(image), -1)
    backbone.to(device=compute.device)

    @torch.inference_mode()
    def answer(image: np.ndarray) -> np.ndarray:
        return backbone(torch.from_numpy(image).to(compute.device)).flatten(1).cpu().numpy()  # waits for a GPU

    return answer


def of(network: Network, pixels: np.ndarray, rows: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """float32 [len(rows), D]. All batches have one shape: an image's last bits would else depend on its neighbours."""
    parts = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        parts.append(network(batch(pixels, np.resize(part, BATCH), preprocess))[: len(part)])
    return np.concatenate(parts)


def batch(pixels: np.ndarray, rows: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """The stored images in these rows as a network with this preprocessing reads them. Where it wants them stored at
    another size, what is stored is resized: twice resampled, they are a little softer than prepared for it."""
    stored = pixels[rows]
    if stored.shape[1] != preprocess.resize:
        side, method = (preprocess.resize, preprocess.resize), Image.Resampling[preprocess.interpolation.upper()]
        stored = np.stack([np.asarray(Image.fromarray(image).resize(side, method)) for image in stored])
    return normalise(crop(torch.from_numpy(stored), preprocess), preprocess).contiguous().numpy()

"""Two images of a batch as one, with both their labels. Evaluation never sees such images.

Each is `(image [B, 3, H, W], labels by task [B, C] as probabilities, generator) -> the same, mixed`. The random numbers
are drawn on the CPU, so a seed means the same images on every device. As in both papers' code, one share is drawn for
the whole batch, and every image's partner is that of a random order of the same batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor

Labels = dict[str, Tensor]

ALPHA = 0.2
"""Zhang et al., sec. 3.1: on photographs, values between 0.1 and 0.4 did best, and larger ones did not fit the data."""


def mixup(image: Tensor, labels: Labels, generator: Generator) -> tuple[Tensor, Labels]:
    """Blended: share * one + (1 - share) * other, with the share drawn from Beta(alpha, alpha).

    Zhang et al., 2018, arXiv:1710.09412, sec. 2.
    """
    share, partner = _beta(ALPHA, generator), torch.randperm(len(image), generator=generator).to(image.device)
    return share * image + (1 - share) * image[partner], _mixed(labels, share, partner)


def cutmix(image: Tensor, labels: Labels, generator: Generator) -> tuple[Tensor, Labels]:
    """A rectangle of one image in another: its area's share is drawn evenly, its centre evenly over the image, and what
    would lie outside is cut off; labels are shared as the pixels are.

    Yun et al., 2019, arXiv:1905.04899, eq. 1 and 2.
    """
    height, width = image.shape[2:]
    area, x, y = torch.rand(3, dtype=torch.float64, generator=generator).tolist()
    partner = torch.randperm(len(image), generator=generator).to(image.device)
    left, right = _span(x * width, width * math.sqrt(area), width)
    top, bottom = _span(y * height, height * math.sqrt(area), height)
    image = image.clone()
    image[:, :, top:bottom, left:right] = image[partner, :, top:bottom, left:right]
    return image, _mixed(labels, 1 - (right - left) * (bottom - top) / (width * height), partner)


def _span(centre: float, length: float, side: int) -> tuple[int, int]:
    """First pixel, and the one after the last."""
    return max(0, int(centre - length / 2)), min(side, int(centre + length / 2))


def _mixed(labels: Labels, share: float, partner: Tensor) -> Labels:
    return {task: share * own + (1 - share) * own[partner] for task, own in labels.items()}


def _beta(alpha: float, generator: Generator) -> float:
    """torch's own sampler takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


MIXES: dict[str, Callable[[Tensor, Labels, Generator], tuple[Tensor, Labels]]] = {"mixup": mixup, "cutmix": cutmix}

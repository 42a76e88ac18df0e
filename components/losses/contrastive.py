"""Contrastive loss: pairs of one class are pulled together, others pushed apart until they are a margin away.

Hadsell et al., 2006, "Dimensionality reduction by learning an invariant mapping", eq. 4:
L = (1 - Y) * 1/2 * D^2 + Y * 1/2 * max(0, m - D)^2, where Y is 1 for a pair of different classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.losses.distance import full_precision


def contrastive(left: Tensor, right: Tensor, *, same: Tensor, margin: float) -> Tensor:
    """left [N, d], right [N, d], same [N] in {0, 1} -> scalar, the mean over pairs; D is Euclidean."""
    left, right = full_precision(left, right)
    squared = (left - right).square().sum(1)
    # The root's gradient at zero is infinite; two images with the very same features have none.
    distance = squared.clamp_min(torch.finfo(squared.dtype).eps ** 2).sqrt()
    apart = (margin - distance).clamp_min(0).square()
    return (0.5 * same * squared + 0.5 * (1 - same) * apart).mean()

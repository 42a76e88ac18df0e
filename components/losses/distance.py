"""How far apart, or how alike, every row of one table and every row of another are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def full_precision(*tensors: Tensor) -> list[Tensor]:
    """In float32 at least: the difference of two half-precision numbers that are alike is noise."""
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean, squared: a [N, d], b [M, d] -> [N, M], each >= 0."""
    # Under autocast the matrix product would be in half precision again.
    with torch.autocast(a.device.type, enabled=False):
        a, b = full_precision(a, b)
        # The expanded form |a|^2 - 2ab + |b|^2 is one matrix product; rounding may leave it a little below zero.
        squares = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
        return (squares - 2 * a @ b.T).clamp_min(0)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle: a [N, d], b [M, d] -> [N, M] in [-1, 1]; 0 where a row is nothing but zeros."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = full_precision(a, b)
        return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T

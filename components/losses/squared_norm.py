"""Half the squared length of a network's weights, seen from zero or from where they started."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def half_squared_norm(weights: Iterable[Tensor]) -> Tensor:
    """1/2 |w|^2 over all tensors together -> scalar."""
    return torch.stack([weight.float().square().sum() for weight in weights]).sum() / 2


def half_squared_distance(*, weights: Iterable[Tensor], start: Iterable[Tensor]) -> Tensor:
    """1/2 |w - w_0|^2 over all tensors together, pair by pair -> scalar. The start is a constant."""
    return half_squared_norm(
        weight.float() - origin.detach().float() for weight, origin in zip(weights, start, strict=True)
    )

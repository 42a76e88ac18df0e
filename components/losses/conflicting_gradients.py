"""Gradients of several tasks, each without its part that undoes another one's.

Yu et al., 2020, arXiv:2001.06782, algorithm 1 (PCGrad).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def project_conflicts(gradients: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """gradients [T, P], one row for each task -> the projected gradients [T, P].

    Where task i's gradient points against task j's, it is projected onto the plane normal to that. `orders[i]` is the
    order, random in the paper, in which i meets the others; i itself may be in it and is passed over. Rows that do not
    conflict come back as they are.
    """
    projected = gradients.clone()
    squares = gradients.square().sum(1)
    for i, order in enumerate(orders):
        for j in order:
            if j == i:
                continue
            product = projected[i] @ gradients[j]
            # A gradient of zero conflicts with nothing; its product would be 0, and 0 / 0 is never computed.
            scale = torch.where(product < 0, product / squares[j].clamp_min(torch.finfo(squares.dtype).tiny), 0.0)
            projected[i] -= scale * gradients[j]
    return projected

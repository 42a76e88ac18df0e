"""Gradient reversal: nothing on the way forward, the gradient times -factor on the way back.

Ganin et al., 2016, arXiv:1505.07818, sec. 4.2 and, for how the factor grows, sec. 5.2.2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return -factor.to(gradients[0].dtype) * gradients[0], None


class GradientReversal(nn.Module):
    """x of any shape -> x. What is before it learns to raise the loss that what is behind it learns to lower.

    `height`: the factor at the end of training; `gamma`: how early most of the ramp is climbed.
    """

    factor: Tensor

    def __init__(self, *, height: float = 1.0, gamma: float = 10.0) -> None:
        super().__init__()
        self.height = height
        self.gamma = gamma
        self.register_buffer("factor", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return _Reverse.apply(x, self.factor)

    def advance(self, progress: float) -> None:
        self.factor.fill_(self.height * ramp(progress, gamma=self.gamma))


def ramp(progress: float, *, gamma: float) -> float:
    """2 / (1 + exp(-gamma p)) - 1: from 0, where a discriminator still knows nothing, towards 1."""
    return 2 / (1 + math.exp(-gamma * progress)) - 1

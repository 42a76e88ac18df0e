"""A weight that can only be changed by a matrix of low rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W -> W + alpha / rank * B A, for a weight [out, ...] read as a matrix [out, in].

    Hu et al., 2021, arXiv:2106.09685, eq. 3. A is random and B zero, so that nothing is changed at first. `merged` is
    what eval mode uses: the sum as it was when `merge` was last called, one plain tensor in the exported graph.
    """

    merged: Tensor

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(rank, rows, columns)
        self.scale = alpha / rank
        # The paper says Gaussian, and not how wide: like this, A keeps the size of what passes through it.
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.register_buffer("merged", weight.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        return self.sum(weight) if self.training else self.merged

    def sum(self, weight: Tensor) -> Tensor:
        # Autocast would round the change to half precision, and the merged network would be another one.
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down).view_as(weight)

    @torch.no_grad()
    def merge(self, weight: Tensor) -> None:
        self.merged.copy_(self.sum(weight))


def adapt(network: nn.Module, rank: int, alpha: float) -> list[tuple[nn.Parameter, LowRank]]:
    """Gives every convolution, linear layer and attention inside such a weight; returns each with its frozen W."""
    adapted = []
    for module in list(network.modules()):
        name = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        weight = getattr(module, name, None)
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)) and weight is not None:
            low_rank = LowRank(weight, rank, alpha)
            parametrize.register_parametrization(module, name, low_rank, unsafe=True)  # same shape and type, by far
            adapted.append((weight, low_rank))
    return adapted

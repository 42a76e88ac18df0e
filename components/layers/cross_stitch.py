"""A cross-stitch unit: what each of several networks goes on with is a learned mixture of what all of them have.

Misra et al., 2016, arXiv:1604.03539, eq. 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class CrossStitch(nn.Module):
    """One tensor for each network, of one shape -> as many mixtures: row i of the matrix is what network i takes.

    `own` is a network's share of itself at the beginning; the others' make it up to 1, so equal networks stay as they
    were.
    """

    def __init__(self, networks: int, own: float) -> None:
        super().__init__()
        self.networks = networks
        other = (1 - own) / (networks - 1) if networks > 1 else 0.0
        mixing = torch.full((networks, networks), other)
        mixing.fill_diagonal_(own if networks > 1 else 1.0)
        # A vector, because weight decay, which is for matrices, would pull the mixtures towards nothing.
        self.mixing = nn.Parameter(mixing.flatten())

    def forward(self, activations: Sequence[Tensor]) -> list[Tensor]:
        rows = self.mixing.view(self.networks, self.networks)
        mixed = []
        for row in rows:
            # A scalar factor leaves the activations' precision as it is, and a sum one by one their memory layout.
            total, *others = (share * activation for share, activation in zip(row, activations, strict=True))
            for other in others:
                total = total + other
            mixed.append(total)
        return mixed

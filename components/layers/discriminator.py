"""A domain discriminator: does this vector come from the source?"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Discriminator(nn.Module):
    """x [B, d] -> logit [B], high for the source. `hidden`: widths of the layers between, each followed by a ReLU."""

    def __init__(self, num_inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers += [nn.Linear(num_inputs, width), nn.ReLU()]
            num_inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(num_inputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)

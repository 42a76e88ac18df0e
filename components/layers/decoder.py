"""From features back to an image: a linear layer, then convolutions that double the resolution.

The decoder of Ghifary et al., 2016, arXiv:1607.03516, sec. 3.2, mirrors its encoder. This one knows nothing of the
encoder but the length of its features, so that it fits any backbone.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 8
"""Side, at most, of the map that the linear layer fills."""


class Decoder(nn.Module):
    """features [B, D] -> image [B, 3, size, size]. `channels`: of the last hidden map; each earlier one has twice as
    many, up to four times."""

    def __init__(self, num_features: int, size: int, *, channels: int = 8) -> None:
        super().__init__()
        sides = [size]
        while sides[0] > SMALLEST:
            sides.insert(0, (sides[0] + 1) // 2)
        widths = [channels * min(4, 2**power) for power in range(len(sides) - 1, -1, -1)]
        self.sides = tuple(sides)
        self.start = nn.Linear(num_features, widths[0] * sides[0] ** 2)
        self.steps = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.image = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(self.start(features)).unflatten(1, (-1, self.sides[0], self.sides[0]))
        for side, step in zip(self.sides[1:], self.steps, strict=True):
            # Convolved before it is enlarged, which costs a quarter of the other order; nearest: unpooling.
            x = F.interpolate(F.relu(step(x)), (side, side))
        return self.image(x)

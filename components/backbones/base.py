"""What a backbone is: images in, one feature vector per image out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.types import Preprocess


class Backbone(nn.Module, ABC):
    """image [B, 3, H, W] (already normalised as `preprocess` says) -> features [B, D]."""

    num_features: int
    preprocess: Preprocess

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor: ...

    @abstractmethod
    def stages(self) -> Sequence[nn.Module]:
        """The parts from input to output, every parameter in exactly one: what freezing, gradual unfreezing and
        layer-wise rates count in."""

    def example(self, count: int) -> Tensor:
        """[count, ...], zeros of the shape that `forward` reads: for a look at the shapes that come of it."""
        return torch.zeros(count, 3, self.preprocess.size, self.preprocess.size)

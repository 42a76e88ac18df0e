"""What a backbone is: images in, one feature vector per image out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from components.errors import ParamsError
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

    def named_weights(self, weights: str) -> Path:
        """The file of the weights of this name, fetched where need be.

        Raises ParamsError when there are none of that name, MachineError when they cannot be had.
        """
        raise ParamsError(f"backbone.weights is {weights!r}, but this backbone has only 'pretrain' or a file")

    def translated(self, state: dict[str, Tensor], path: Path, sha256: str) -> dict[str, Tensor]:
        """The tensors of a file in the names of whoever made it -> in this backbone's own, heads left out.

        Raises DataError when the file is not what its name says.
        """
        return state

    def looks_like(self, state: dict[str, Tensor]) -> str | None:
        """The name of the model that the tensors of a file are, where it can be told and is not this one."""
        return None

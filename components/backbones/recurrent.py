"""Recurrent networks as backbones: sequences as they come, or an image read row by row or patch by patch.

An LSTM (Hochreiter & Schmidhuber, 1997, Neural Computation 9(8)) or a GRU (Cho et al., 2014, arXiv:1406.1078) reads
x_1 ... x_T; the features are the last hidden state h_T, as in Le et al., 2015, arXiv:1504.00941, sec. 4.2, where MNIST
is read pixel by pixel, or the mean of all hidden states. Defaults are what was best on USPS digits that were held out
of training: the last state, and patches of a quarter of the side rather than a seventh.

The layers are torch's own: they export as ONNX's LSTM and GRU, one node each, whatever the length. They are stacked one
by one, not by `num_layers`, so that each can be frozen, unfrozen and trained at a rate of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError, choices
from components.types import Preprocess

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
SUMMARIES = ("last", "mean")


class Layer(nn.Module):
    """One recurrent layer: [B, T, F] -> its hidden states [B, T, H], both directions' side by side if there are two.

    torch's layers answer with the last state too; a stage of a backbone answers with one tensor.
    """

    def __init__(self, features_in: int, width: int, cell: str, bidirectional: bool) -> None:
        super().__init__()
        self.cell = CELLS[cell](features_in, width, batch_first=True, bidirectional=bidirectional)
        for name, parameter in self.cell.named_parameters():
            if cell == "lstm" and name.startswith("bias_ih"):
                # Remember at first, so that gradients reach the sequence's start: Jozefowicz et al., 2015, PMLR 37.
                nn.init.ones_(parameter[width : 2 * width])

    def forward(self, sequence: Tensor) -> Tensor:
        return self.cell(sequence)[0]


class SequenceBackbone(Backbone):
    """sequence [B, T, F] of any length T -> features [B, D].

    `features_in`: F; `width`: of the input's projection and of a layer's hidden state in one direction; `summary`: the
    last hidden state (of two directions, each one's own last) or the mean over time.
    """

    def __init__(
        self,
        features_in: int,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 128,
        layers: int = 2,
        bidirectional: bool = False,
        summary: Literal["last", "mean"] = "last",
    ) -> None:
        for key, value, known in (("cell", cell, CELLS), ("summary", summary, SUMMARIES)):
            if value not in known:
                raise ParamsError(f"{key} is {value!r}; {choices(value, known)}")
        if layers < 1:
            raise ParamsError(f"layers is {layers}, but must be at least 1")
        super().__init__()
        self.features_in, self.width, self.bidirectional, self.summary = features_in, width, bidirectional, summary
        # What is no image has no size or colours; its values are taken as they are.
        self.preprocess = Preprocess(size=1, resize=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.num_features = width * (2 if bidirectional else 1)
        self.projection = nn.Sequential(nn.Linear(features_in, width), nn.ReLU(inplace=True))
        inputs = [width, *[self.num_features] * (layers - 1)]
        self.layers = nn.ModuleList(Layer(size, width, cell, bidirectional) for size in inputs)

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.projection(image)
        for layer in self.layers:
            hidden = layer(hidden)
        if self.summary == "mean":
            return hidden.mean(1)
        if not self.bidirectional:
            return hidden[:, -1]
        return torch.cat([hidden[:, -1, : self.width], hidden[:, 0, self.width :]], 1)

    def stages(self) -> Sequence[nn.Module]:
        return [self.projection, *self.layers]

    def example(self, count: int) -> Tensor:
        return torch.zeros(count, 2, self.features_in)  # the shortest sequence that has a past


class ImageSequence(SequenceBackbone):
    """image [B, 3, S, S] -> features [B, D], read as a sequence.

    `read`: "rows", from the top, or "patches", in the order of writing; `patch`: their side, S / 4 rounded up unless
    given. An image that is no whole number of patches is continued to the right and below with zeros.
    """

    def __init__(
        self,
        *,
        read: Literal["rows", "patches"] = "rows",
        patch: int | None = None,
        size: int = 32,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 128,
        layers: int = 2,
        bidirectional: bool = False,
        summary: Literal["last", "mean"] = "last",
    ) -> None:
        self.read, self.patch = read, patch or -(-size // 4)
        features_in = 3 * size if read == "rows" else 3 * self.patch**2
        super().__init__(
            features_in, cell=cell, width=width, layers=layers, bidirectional=bidirectional, summary=summary
        )
        self.preprocess = Preprocess(size=size, resize=size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(rows(image) if self.read == "rows" else patches(image, self.patch))

    def example(self, count: int) -> Tensor:
        return Backbone.example(self, count)


def rows(image: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H, C * W], the topmost row first."""
    return image.transpose(1, 2).flatten(2)


def patches(image: Tensor, side: int) -> Tensor:
    """[B, C, H, W] -> [B, n, C * side * side], patches in the order of writing; zeros fill the last ones up."""
    high, wide = -image.shape[2] % side, -image.shape[3] % side
    image = F.pad(image, (0, wide, 0, high))  # also by nothing: the same steps, whatever the size
    cut = image.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # [B, C, n_high, side, n_wide, side]
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

"""DRCN: one encoder that must serve two masters: classify the source, and reconstruct the target.

Ghifary et al., 2016, arXiv:1607.03516, eq. 4: lambda * L_c(source) + (1 - lambda) * L_r(target), the latter the squared
error between a target image and what a decoder makes of its features. Here trade_off = 1 - lambda.

The decoder's input comes from a corrupted image (sec. 4, "denoising"), as in the authors' code a mask that blackens
random pixels; what is to be reconstructed is the whole image.

Deviations: both terms in one step, where algorithm 1 alternates between an epoch of each; the squared error is the mean
over pixels, on the scale where black is 0 and white is 1, so that it does not depend on the image's size; the decoder
is not the encoder's mirror image (see components/layers/decoder.py). No dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.decoder import Decoder
from components.strategies.adaptation import Adaptation, target_cross_entropy
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class DRCN(Adaptation):
    """`trade_off`: the share of the reconstruction in the sum, the source's labels having the rest; `corruption`: the
    share of a target image's pixels that are blackened."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        trade_off: float = 0.5,
        corruption: float = 0.4,
        target_labels: bool = False,
    ) -> None:
        for name, value in (("trade_off", trade_off), ("corruption", corruption)):
            if not 0 <= value <= 1:
                raise ParamsError(f"strategies.drcn.{name} is {value}, but must lie between 0 and 1")
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.trade_off = trade_off
        self.corruption = corruption
        self.decoder = Decoder(backbone.num_features, backbone.preprocess.size)
        self.register_buffer("mean", torch.tensor(backbone.preprocess.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.preprocess.std).view(1, 3, 1, 1), persistent=False)

    def losses(self, source: Labelled, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        images = [source.image, self.corrupted(unlabelled.image), *([] if target is None else [target.image])]
        sides = self.sides(*images)
        terms = self.criterion(sides[0].outputs, source.labels, stream="source")
        if target is not None:
            terms |= target_cross_entropy(self.criterion, sides[2].outputs, target.labels)
        reconstruction = F.mse_loss(self.decoder(sides[1].features).float(), unlabelled.image * self.std + self.mean)
        return {
            **{name: (1 - self.trade_off) * term for name, term in terms.items()},
            "reconstruction": self.trade_off * reconstruction,
        }

    def corrupted(self, image: Tensor) -> Tensor:
        """Random pixels of every image made black."""
        black = torch.rand(len(image), 1, *image.shape[2:], device=image.device) < self.corruption
        return torch.where(black, -self.mean / self.std, image)

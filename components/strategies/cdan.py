"""CDAN: a domain discriminator that sees features together with the class they are taken for, so that classes are
aligned with their like and not just clouds of points.

Long et al., 2018, arXiv:1705.10667, sec. 3: DANN whose discriminator reads T(f, g), the multilinear map of the features
f and the predicted probabilities g (randomised where D * C > 4096). CDAN+E (`entropy_conditioning`) weighs each image's
part of the discriminator's loss by 1 + exp(-H(g)): certain answers are easier to transfer, and come first.

As in the authors' code, g enters T as a constant, while the entropies' gradient is reversed like the features', so that
CDAN+E also lowers them; the ramp of sec. 4.1 is DANN's, and weighs only what enters the network. Deviation: no dropout
in the discriminator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.layers.discriminator import Discriminator
from components.layers.gradient_reversal import GradientReversal
from components.layers.multilinear_map import MultilinearMap
from components.losses.domain_cross_entropy import domain_cross_entropy
from components.losses.entropy import entropy
from components.strategies.adaptation import Adaptation, Side
from components.types import LabelSpace, Losses


class CDAN(Adaptation):
    """`trade_off`: lambda at the end of the ramp, `gamma`: the ramp's steepness; `entropy_conditioning`: CDAN+E;
    `hidden`: widths of the discriminator's layers. The first task's classes condition the discriminator."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        trade_off: float = 1.0,
        gamma: float = 10.0,
        entropy_conditioning: bool = False,
        hidden: tuple[int, ...] = (1024, 1024),
        target_labels: bool = False,
    ) -> None:
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.entropy_conditioning = entropy_conditioning
        self.task, size = next(iter(label_space.sizes().items()))
        self.reversal = GradientReversal(height=trade_off, gamma=gamma)
        self.map = MultilinearMap(backbone.num_features, size)
        self.discriminator = Discriminator(self.map.num_outputs, hidden)

    def advance(self, progress: float) -> None:
        self.reversal.advance(progress)

    def adapt(self, *, source: Side, target: Side) -> Losses:
        domain = domain_cross_entropy(
            source=self._discriminate(source),
            target=self._discriminate(target),
            source_weight=self._weight(source),
            target_weight=self._weight(target),
        )
        return {"domain": domain}

    def _discriminate(self, side: Side) -> Tensor:
        probabilities = side.outputs[self.task].detach().float().softmax(1)
        return self.discriminator(self.map(self.reversal(side.features), probabilities))

    def _weight(self, side: Side) -> Tensor | None:
        if not self.entropy_conditioning:
            return None
        return 1 + torch.exp(-entropy(self.reversal(side.outputs[self.task])))

"""Deep CORAL: logits whose covariances are alike in both domains, beside the source's labels.

Sun & Saenko, 2016, arXiv:1607.01719, eq. 1: |C_S - C_T|^2 / (4 d^2) between the covariances of a batch of each domain,
and eq. 6: cross-entropy on the source + trade_off * CORAL, at the last layer (sec. 4: fc8).
"""

from __future__ import annotations

import torch

from components.backbones.base import Backbone
from components.losses.coral import coral
from components.strategies.adaptation import Adaptation, Side
from components.types import LabelSpace, Losses


class DeepCoral(Adaptation):
    """`trade_off`: weight of the CORAL term (lambda). The paper sets it so that at the end of training both terms are
    about as large; look at the logged terms and do the same, no target label is needed for it."""

    def __init__(
        self, backbone: Backbone, label_space: LabelSpace, *, trade_off: float = 1.0, target_labels: bool = False
    ) -> None:
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.trade_off = trade_off

    def adapt(self, *, source: Side, target: Side) -> Losses:
        distances = [coral(source=source.outputs[task], target=target.outputs[task]) for task in source.outputs]
        return {"coral": self.trade_off * torch.stack(distances).sum()}

"""DAN: layers whose outputs are distributed alike in both domains, by a multi-kernel MMD beside the source's labels.

Long et al., 2015, arXiv:1502.02791, eq. 6: cross-entropy on the source + trade_off * sum over layers of MK-MMD.

Deviations: the paper adapts the three fully connected layers of AlexNet; here one linear layer follows the features,
so the features and that layer are adapted, the latter as probabilities, whose scale does not grow as training goes on.
The mixture of kernels is fixed, where the paper learns its weights; the MMD estimate is the quadratic unbiased one,
which batches of this size afford, where the paper's is linear.
"""

from __future__ import annotations

import torch

from components.backbones.base import Backbone
from components.losses.mmd import mmd
from components.strategies.adaptation import Adaptation, Side
from components.types import LabelSpace, Losses


class DAN(Adaptation):
    """`trade_off`: weight of the MMD term (the paper's lambda)."""

    def __init__(
        self, backbone: Backbone, label_space: LabelSpace, *, trade_off: float = 1.0, target_labels: bool = False
    ) -> None:
        super().__init__(backbone, label_space, target_labels=target_labels)
        self.trade_off = trade_off

    def adapt(self, *, source: Side, target: Side) -> Losses:
        layers = [(source.features, target.features)]
        layers += [(source.outputs[t].float().softmax(1), target.outputs[t].float().softmax(1)) for t in source.outputs]
        return {"mmd": self.trade_off * torch.stack([mmd(source=s, target=t) for s, t in layers]).sum()}

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
from components.strategies.base import Classifier, cross_entropy
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class DAN(Classifier):
    """`trade_off`: weight of the MMD term (the paper's lambda)."""

    streams = ("source", "unlabelled")

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, trade_off: float = 1.0) -> None:
        super().__init__(backbone, label_space)
        self.trade_off = trade_off

    def losses(self, source: Labelled, unlabelled: Unlabelled) -> Losses:
        # Both domains pass through the network together. Apart, each would be normalised by its own batch statistics:
        # the shift would vanish from the training batches, where the MMD is measured, and be back in evaluation.
        count = len(source.image)
        features = self.backbone(torch.cat([source.image, unlabelled.image]))
        outputs = self.classify(features)
        terms = cross_entropy({task: logits[:count] for task, logits in outputs.items()}, source.labels)
        layers = [features, *(logits.float().softmax(1) for logits in outputs.values())]
        distance = torch.stack([mmd(source=layer[:count], target=layer[count:]) for layer in layers]).sum()
        return {**terms, "mmd": self.trade_off * distance}

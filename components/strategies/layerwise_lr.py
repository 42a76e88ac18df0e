"""Layer-wise learning rates: what lies nearer to the image is more general, and is trained more slowly.

Howard & Ruder, 2018, arXiv:1801.06146, sec. 3.2, "discriminative fine-tuning", eq. 2:
theta^l <- theta^l - eta^l * gradient, with eta^(l-1) = eta^l / 2.6.

Deviation: the paper's network has five layers; here `groups` of stages and the head are counted, each as one layer.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.strategies.stage_groups import rates
from components.types import Labelled, LabelSpace, Losses


class LayerwiseLr(Classifier):
    """`decay`: what the rate is divided by from one group to the one before it, the head being the last; `groups`: into
    how many the backbone's stages are gathered at most."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        decay: float = 2.6,
        groups: int = 4,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        self.decay = decay
        self.groups = groups
        self.label_smoothing = label_smoothing
        rates(backbone, 1.0, groups=groups, decay=decay)  # refuses impossible values now, not after the data is read

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr},
            *rates(self.backbone, lr, groups=self.groups, decay=self.decay),
        ]

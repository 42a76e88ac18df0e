"""Fine-tuning: pretrained weights as the starting point, a new head, everything trained on the target.

Girshick et al., 2014, arXiv:1311.2524, sec. 2.3, who train the body at a tenth of the head's rate, so that the new
head's first, wild gradients do not undo the pretraining; Yosinski et al., 2014, arXiv:1411.1792.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.types import Labelled, LabelSpace, Losses


class FineTune(Classifier):
    """`body_lr_factor`: the backbone's learning rate as a share of the head's."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        body_lr_factor: float = 0.1,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        self.body_lr_factor = body_lr_factor
        self.label_smoothing = label_smoothing

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr},
            {"params": list(self.backbone.parameters()), "lr": lr * self.body_lr_factor},
        ]

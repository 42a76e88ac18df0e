"""L2-SP: weight decay towards the pretrained weights instead of towards zero.

Li et al., 2018, arXiv:1802.01483, sec. 3.2: alpha / 2 * |w_S - w_S^0|^2 + beta / 2 * |w_S'|^2 is added to the loss,
where w_S are the weights of the pretrained network with w_S^0 their starting point, and w_S' the new head's.

The optimizer's own weight decay would pull to zero what belongs to its start, so it is off for all of them. The gains
and shifts of normalisation layers are among w_S: they, too, have a starting point.
"""

from __future__ import annotations

from torch import Tensor

from components.backbones.base import Backbone
from components.losses.squared_norm import half_squared_distance, half_squared_norm
from components.strategies.base import Classifier, Data
from components.types import Labelled, LabelSpace, Losses


class L2Sp(Classifier):
    """`alpha`: the pull of the backbone to its start; `beta`: the pull of the head to zero; `body_lr_factor`: the
    backbone's learning rate as a share of the head's, which the paper sets to a tenth."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        alpha: float = 0.1,
        beta: float = 0.01,
        body_lr_factor: float = 0.1,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        self.alpha = alpha
        self.beta = beta
        self.body_lr_factor = body_lr_factor
        self.label_smoothing = label_smoothing
        self._start: list[Tensor] = []

    def begin(self, data: Data) -> None:
        # Not saved with the rest: a training that is resumed begins again with the same pretrained weights.
        self._start = [parameter.detach().clone() for parameter in self.backbone.parameters()]

    def losses(self, target: Labelled) -> Losses:
        terms = self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)
        terms["start"] = self.alpha * half_squared_distance(weights=self.backbone.parameters(), start=self._start)
        terms["head"] = self.beta * half_squared_norm(self.heads.parameters())
        return terms

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr, "weight_decay": 0.0},
            {"params": list(self.backbone.parameters()), "lr": lr * self.body_lr_factor, "weight_decay": 0.0},
        ]

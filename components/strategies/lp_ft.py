"""LP-FT: first the head alone is fitted to the pretrained features, then everything is fine-tuned from there.

Kumar et al., 2022, arXiv:2202.10054, sec. 3.4: a random head's gradients distort good features before the head has
learned anything; started from the linear probe's solution, there is little left to distort them for. The head is
solved in `begin` as the paper's is: logistic regression, its penalty chosen on the validation part.

Deviations: the paper has one small rate for everything; a recipe's rate here is that of a head, and the backbone takes
a tenth of it, as in `fine_tune`. With the statistics of a batch, a batch-norm network is another function than the one
whose features the head was fitted to, before the first step is taken; so by default the pretrained statistics stay in
use while gains and shifts are trained.
"""

from __future__ import annotations

from typing import Literal

from components.backbones.base import Backbone
from components.layers.batch_norm import keep_statistics
from components.strategies.base import Classifier, Data
from components.strategies.frozen_features import solve_heads
from components.types import Labelled, LabelSpace, Losses


class LpFt(Classifier):
    """`body_lr_factor`: the backbone's learning rate as a share of the head's; `l2`: the probe's penalties to choose
    from; `statistics`: what batch-norm layers use while fine-tuning."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        body_lr_factor: float = 0.1,
        l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        statistics: Literal["pretrained", "batch"] = "pretrained",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        self.body_lr_factor = body_lr_factor
        self.l2 = l2
        self.statistics = statistics
        self.label_smoothing = label_smoothing

    def begin(self, data: Data) -> None:
        solve_heads(self, data, solver="lbfgs", l2=self.l2)

    def advance(self, progress: float) -> None:
        if self.statistics == "pretrained":
            keep_statistics(self.backbone)

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr},
            {"params": list(self.backbone.parameters()), "lr": lr * self.body_lr_factor},
        ]

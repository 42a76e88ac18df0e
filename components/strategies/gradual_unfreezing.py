"""Gradual unfreezing: the head first, then one group of stages more at a time, from the last to the first.

Howard & Ruder, 2018, arXiv:1801.06146, sec. 3.3: "first unfreeze the last layer and fine-tune all unfrozen layers for
one epoch. We then unfreeze the next lower frozen layer and repeat"; with the layer-wise rates of sec. 3.2, as in the
paper's own method.

Deviations: a step on this way takes an equal share of the training, where the paper has an epoch; the paper's network
has five layers, here `groups` of stages and the head are counted. The rate follows the recipe's schedule, where the
paper's is a slanted triangle.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.base import Classifier
from components.strategies.stage_groups import rates, stage_groups
from components.types import Labelled, LabelSpace, Losses


class GradualUnfreezing(Classifier):
    """`thawed_at`: the share of the training after which everything is trained; `groups`: into how many the backbone's
    stages are gathered at most; `decay`: what the rate is divided by from one group to the one before it."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        thawed_at: float = 0.5,
        groups: int = 4,
        decay: float = 2.6,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        if not 0 <= thawed_at < 1:
            raise ParamsError(f"thawed_at is {thawed_at}, but must be at least 0 and below 1")
        rates(backbone, 1.0, groups=groups, decay=decay)  # refuses impossible values now, not after the data is read
        self.thawed_at = thawed_at
        self.groups = groups
        self.decay = decay
        self.label_smoothing = label_smoothing

    def advance(self, progress: float) -> None:
        parts = stage_groups(self.backbone, self.groups)
        for number, part in enumerate(reversed(parts), start=1):
            thawed = progress >= self.thawed_at * number / len(parts)
            for stage in part:
                # Without a gradient the optimizer passes over them: neither decay nor momentum moves them.
                stage.requires_grad_(thawed)
                if not thawed:
                    stage.eval()

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr},
            *rates(self.backbone, lr, groups=self.groups, decay=self.decay),
        ]

"""Hard sharing: one backbone for all tasks, which must find features that serve every one of them; a head for each.

Caruana, 1997, "Multitask learning", Machine Learning 28, fig. 2: the sum of the tasks' losses, whose gradients
meet in the shared layers.

`weighting`: "equal" is that sum; "uncertainty" learns a weight for each task (Kendall et al., 2018, arXiv:1705.07115,
eq. 10); "pcgrad" takes from each task's gradient what works against another's (Yu et al., 2020, arXiv:2001.06782,
algorithm 1), in the shared layers, for each head has one task only. Deviation: the paper trains from random weights, at
one rate; this is fine-tuning, with the body at a tenth of the heads' rate.
"""

from __future__ import annotations

from typing import Literal

from components.backbones.base import Backbone
from components.strategies.multi_task import MultiTask
from components.types import Labelled, LabelSpace, Losses


class HardSharing(MultiTask):
    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        weighting: Literal["equal", "uncertainty", "pcgrad"] = "equal",
        body_lr_factor: float = 0.1,
    ) -> None:
        super().__init__(backbone, label_space, weighting=weighting, body_lr_factor=body_lr_factor)

    def losses(self, target: Labelled) -> Losses:
        return self.weigh(self.criterion(self(target.image), target.labels))

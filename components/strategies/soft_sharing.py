"""Soft sharing: a backbone for each task, all of them held together by a penalty on how far apart their weights are.

Duong et al., 2015, "Low resource dependency parsing: cross-lingual parameter sharing in a neural network parser", ACL,
sec. 3: the tasks' losses + l2 / 2 * |W_a - W_b|^2, summed over parameters and, with more than two tasks, over
pairs of them.

Deviations: the paper ties a parser to one that was trained before and does not move; here all tasks start from the same
pretrained weights and move together. The paper ties some layers; here it is the whole backbone, batch-norm statistics
not counted. The weight is not the paper's, whose data are not images.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from components.backbones.base import Backbone
from components.losses.squared_norm import half_squared_norm
from components.strategies.multi_task import MultiTask
from components.types import Labelled, LabelSpace, Losses, Outputs


class SoftSharing(MultiTask):
    """`l2`: weight of the penalty; 0 leaves the networks to themselves."""

    # "pcgrad" would change nothing: no parameter has gradients of two tasks' losses that could conflict.
    weightings = ("equal", "uncertainty")

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        l2: float = 0.01,
        weighting: Literal["equal", "uncertainty"] = "equal",
        body_lr_factor: float = 0.1,
    ) -> None:
        super().__init__(backbone, label_space, weighting=weighting, body_lr_factor=body_lr_factor)
        self.l2 = l2
        # The first task has the backbone that was given, the others copies of it.
        self.copies = nn.ModuleList(deepcopy(backbone) for _ in range(len(label_space.classes) - 1))

    def networks(self) -> list[nn.Module]:
        """One for each task, in the label space's order."""
        return [self.backbone, *self.copies]

    def forward(self, image: Tensor) -> Outputs:
        pairs = zip(self.heads.items(), self.networks(), strict=True)
        return {task: head(network(image)) for (task, head), network in pairs}

    def losses(self, target: Labelled) -> Losses:
        terms = self.weigh(self.criterion(self(target.image), target.labels))
        distances = [
            half_squared_norm(p - q for p, q in zip(a.parameters(), b.parameters(), strict=True))
            for a, b in combinations(self.networks(), 2)
        ]
        if distances:
            terms["penalty"] = self.l2 * torch.stack(distances).sum()
        return terms

    def bodies(self) -> Iterable[nn.Parameter]:
        return [parameter for network in self.networks() for parameter in network.parameters()]

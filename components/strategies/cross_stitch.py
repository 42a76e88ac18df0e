"""Cross-stitch networks: a backbone for each task, and after every stage each goes on with a learned mixture of all.

Misra et al., 2016, arXiv:1604.03539, eq. 1: at each such place x~_A = a_AA x_A + a_AB x_B, x~_B = a_BA x_A + a_BB x_B,
where the a are learned beside the weights, one matrix for each place.

A task's own share starts at 0.9 and the others have the rest, the best of the paper's table 1. Deviations: the paper
stitches networks that were fine-tuned on one task each, here they are copies of one pretrained network, which the
mixtures, being convex at first, leave as it is; `mixing_lr_factor` is 1, where the paper's mixtures learn 100 to 1000
times as fast as its networks, whose rate is far below ours (the bodies' is a tenth of the mixtures' here).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Literal

from torch import Tensor, nn

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.cross_stitch import CrossStitch
from components.layers.lockstep import Lockstep
from components.strategies.multi_task import MultiTask
from components.types import Labelled, LabelSpace, Losses, Outputs


class CrossStitchNetworks(MultiTask):
    """`own`: a task's share of its own activations at the beginning; `mixing_lr_factor`: rate of the mixtures as a
    share of the heads'."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        own: float = 0.9,
        mixing_lr_factor: float = 1.0,
        weighting: Literal["equal", "uncertainty", "pcgrad"] = "equal",
        body_lr_factor: float = 0.1,
    ) -> None:
        super().__init__(backbone, label_space, weighting=weighting, body_lr_factor=body_lr_factor)
        self.mixing_lr_factor = mixing_lr_factor
        tasks = len(label_space.classes)
        try:
            # A backbone's stages need not be a chain: what lies between them is in its forward, and done as there.
            self.lockstep = Lockstep(backbone, backbone.stages())
        except TypeError as error:
            raise ParamsError(f"'cross_stitch' cannot stitch this backbone: {error}") from error
        # The first task has the backbone that was given, the others copies of it.
        self.copies = nn.ModuleList(deepcopy(backbone) for _ in range(tasks - 1))
        self.units = nn.ModuleList(CrossStitch(tasks, own) for _ in range(self.lockstep.count if tasks > 1 else 0))

    def networks(self) -> list[nn.Module]:
        """One for each task, in the label space's order."""
        return [self.backbone, *self.copies]

    def forward(self, image: Tensor) -> Outputs:
        features = self.lockstep.run(self.networks(), image, self._mix)
        return {task: head(x) for (task, head), x in zip(self.heads.items(), features, strict=True)}

    def _mix(self, place: int, activations: list[Tensor]) -> list[Tensor]:
        return self.units[place](activations) if len(activations) > 1 else activations

    def losses(self, target: Labelled) -> Losses:
        return self.weigh(self.criterion(self(target.image), target.labels))

    def bodies(self) -> Iterable[nn.Parameter]:
        return [parameter for network in self.networks() for parameter in network.parameters()]

    def param_groups(self, lr: float) -> list[dict]:
        groups = super().param_groups(lr)
        return [*groups, {"params": list(self.units.parameters()), "lr": lr * self.mixing_lr_factor}]

"""What the multi-task strategies share: one head for each task, and how the tasks' losses become one step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from components.backbones.base import Backbone
from components.errors import ParamsError, choices
from components.losses.conflicting_gradients import project_conflicts
from components.losses.uncertainty import uncertainty
from components.strategies.base import Classifier
from components.types import LabelSpace, Losses


class MultiTask(Classifier):
    """`weighting`: "equal": the sum of the tasks' losses; "uncertainty": weights that are learned; "pcgrad": gradients
    that do not work against each other. `body_lr_factor`: as in fine-tuning, so that a comparison with it shows what
    the other tasks do."""

    streams = ("target",)
    weightings: tuple[str, ...] = ("equal", "uncertainty", "pcgrad")

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, weighting: str, body_lr_factor: float) -> None:
        super().__init__(backbone, label_space)
        if weighting not in self.weightings:
            raise ParamsError(
                f"weighting is {weighting!r}, which this strategy does not know; {choices(weighting, self.weightings)}"
            )
        self.weighting = weighting
        self.body_lr_factor = body_lr_factor
        if weighting == "uncertainty":
            self.log_variances = nn.Parameter(torch.zeros(len(label_space.classes)))

    def weigh(self, terms: Losses) -> Losses:
        """One loss for each task, in the label space's order -> the terms to minimise."""
        if self.weighting != "uncertainty":
            return terms
        pairs = [uncertainty(loss, s) for loss, s in zip(terms.values(), self.log_variances, strict=True)]
        weighted = dict(zip(terms, (loss for loss, _ in pairs), strict=True))
        return {**weighted, "log_sigma": torch.stack([price for _, price in pairs]).sum()}

    def backward(self, losses: Losses) -> None:
        if self.weighting != "pcgrad":
            super().backward(losses)
            return
        # What one task alone uses has no gradient of another task to conflict with, and is left out: heads here.
        heads = [p for p in self.heads.parameters() if p.requires_grad]
        alone = {id(p) for p in heads}
        shared = [p for p in self.parameters() if p.requires_grad and id(p) not in alone]
        gradients = []
        for loss in losses.values():
            parts = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True, materialize_grads=True)
            gradients.append(torch.cat([part.reshape(-1) for part in parts]))
        # torch's random numbers, whose state is in the checkpoint: a resumed training meets the same order.
        orders = [torch.randperm(len(losses)).tolist() for _ in losses]
        total = project_conflicts(torch.stack(gradients), orders).sum(0)
        for parameter, part in zip(shared, total.split([p.numel() for p in shared]), strict=True):
            part = part.view(parameter.shape)
            parameter.grad = part if parameter.grad is None else parameter.grad + part
        torch.stack(list(losses.values())).sum().backward(inputs=heads)

    def bodies(self) -> Iterable[nn.Parameter]:
        """Everything between the image and the heads."""
        return self.backbone.parameters()

    def param_groups(self, lr: float) -> list[dict]:
        new = list(self.heads.parameters())
        if self.weighting == "uncertainty":
            new.append(self.log_variances)
        return [{"params": new, "lr": lr}, {"params": list(self.bodies()), "lr": lr * self.body_lr_factor}]

"""Siamese networks: two images through the same network, and how probably they are of one class.

Koch et al., 2015, "Siamese neural networks for one-shot image recognition", sec. 3.1: p = sigmoid(sum over j of
alpha_j |f_j(left) - f_j(right)|), trained by cross-entropy on pairs (sec. 3.2). With `loss` "contrastive", Hadsell et
al., 2006, eq. 4, on the Euclidean distance, which is then also what decides.

Deviations: a bias beside the alphas, without which no pair could be more probably of one class than 1/2 unless an alpha
rewards differences; the alphas start out negative, as differences speak against one class. An image is of the class
whose images it is most like on average, where the paper has one image of each (sec. 4.3). The likeness is the sigmoid's
argument, or minus the squared distance, times the one scale that fits the validation labels best: it was learned on
pairs, and decisions between many classes need another.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.support_memory import SupportMemory
from components.losses.contrastive import contrastive
from components.losses.distance import squared_distance
from components.strategies.base import Data
from components.strategies.few_shot import FewShot
from components.types import LabelSpace, Losses, Outputs, Pairs, Sampling

SCALES = tuple(2.0 ** (power / 2) for power in range(-12, 13))


class Siamese(FewShot):
    """`margin`: of the contrastive loss; `memory_per_class`: labelled target training images that the deployed model
    keeps of each class."""

    streams = ("pairs",)
    scale: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        loss: Literal["cross_entropy", "contrastive"] = "cross_entropy",
        margin: float = 1.0,
        memory_per_class: int = 10,
        pairs_from: Literal["source", "target"] = "source",
    ) -> None:
        if memory_per_class < 1:
            raise ParamsError(f"memory_per_class is {memory_per_class}, but must be at least 1")
        if margin <= 0:
            raise ParamsError(f"margin is {margin}, but must be positive")
        super().__init__(backbone, label_space, sampling=Sampling(pairs_from))
        self.margin = margin
        self.alpha = None
        if loss == "cross_entropy":
            self.alpha = nn.Linear(backbone.num_features, 1)
            with torch.no_grad():
                self.alpha.weight.abs_().neg_()
        self.memory = SupportMemory(self.num_classes, memory_per_class, backbone.num_features)
        self.register_buffer("scale", torch.ones(()))

    def losses(self, pairs: Pairs) -> Losses:
        left, right = self.backbone(torch.cat([pairs.left, pairs.right])).float().chunk(2)
        if self.alpha is None:
            return {"contrastive": contrastive(left, right, same=pairs.same, margin=self.margin)}
        return {"cross_entropy": F.binary_cross_entropy_with_logits(self.log_odds(left, right), pairs.same)}

    def log_odds(self, left: Tensor, right: Tensor) -> Tensor:
        """Features [..., D] each -> [...]: of being of one class."""
        assert self.alpha is not None
        difference = (left - right).abs()
        return (difference * self.alpha.weight[0]).sum(-1) + self.alpha.bias

    def forward(self, image: Tensor) -> Outputs:
        logits = self.compare(self.backbone(image), self.memory.features, self.memory.taken)
        return self.outputs(self.scale * logits, self.memory.known())

    def classify_features(self, query: Tensor, *, support: Tensor) -> Tensor:
        taken = torch.ones(support.shape[:2], dtype=torch.bool, device=support.device)
        return self.compare(query.float(), support.float(), taken)

    def classify_support(self, query: Tensor, *, support: Tensor, members: Tensor) -> Tensor:
        return self.scale * (self.likeness(query, support) @ members / members.sum(0).clamp_min(1))

    def compare(self, query: Tensor, support: Tensor, taken: Tensor) -> Tensor:
        """query [B, D], support [C, M, D], of which those count that are `taken` [C, M] -> mean likeness [B, C]."""
        # Place by place: all differences at once would be M times as large.
        places = zip(support.unbind(1), taken.unbind(1), strict=True)
        total = sum(self.likeness(query, features) * counts for features, counts in places)
        return total / taken.sum(1).clamp_min(1)

    def likeness(self, query: Tensor, support: Tensor) -> Tensor:
        """query [B, D], support [N, D] -> [B, N]."""
        if self.alpha is None:
            return -squared_distance(query, support)
        return self.log_odds(query[:, None], support[None])

    def finish(self, data: Data) -> None:
        self.memory.fill(*self.features_of(data.batches("target")))
        features, labels = self.features_of(data.split("val"))
        logits = torch.cat([self.compare(part, self.memory.features, self.memory.taken) for part in features.split(64)])
        known = self.memory.known()
        losses = [F.cross_entropy(self.outputs(scale * logits, known)[self.task], labels).item() for scale in SCALES]
        self.scale.fill_(SCALES[losses.index(min(losses))])

"""Matching networks: an image takes the labels of the support images it attends to, by the cosine of their features.

Vinyals et al., 2016, arXiv:1606.04080, eq. 1: y = sum over the support of a(x, x_i) y_i, where the attention a is the
softmax over the support of the cosine c(f(x), g(x_i)) (sec. 2.1.1). With `full_context`, f and g see the whole support
(sec. 2.1.2).

Deviations: `scale` multiplies the cosine, which the paper takes as it is (1). In deployment a class with fewer images
than others would get less attention for that alone, so each class's attention is divided by the number of its images;
within episodes these are equal and nothing changes. The LSTM reads the support class by class; the paper leaves the
order open.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.full_context import FullContext
from components.layers.support_memory import SupportMemory
from components.losses.distance import cosine_similarity
from components.strategies.base import Data
from components.strategies.few_shot import FewShot, episode_sampling
from components.types import Episode, LabelSpace, Losses, Outputs


class Matching(FewShot):
    """`processing_steps`: how often a query reads the support when `full_context` is on; `memory_per_class`: labelled
    target training images that the deployed model keeps of each class."""

    streams = ("episodes",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        scale: float = 1.0,
        full_context: bool = False,
        processing_steps: int = 5,
        memory_per_class: int = 10,
        episodes_from: Literal["source", "target"] = "source",
        n_way: int = 5,
        k_shot: int = 5,
        n_query: int = 10,
    ) -> None:
        if scale <= 0:
            raise ParamsError(f"scale is {scale}, but must be positive")
        for key, value in (("memory_per_class", memory_per_class), ("processing_steps", processing_steps)):
            if value < 1:
                raise ParamsError(f"{key} is {value}, but must be at least 1")
        sampling = episode_sampling(episodes_from, n_way=n_way, k_shot=k_shot, n_query=n_query)
        super().__init__(backbone, label_space, sampling=sampling)
        self.scale = scale
        self.context = FullContext(backbone.num_features, processing_steps) if full_context else None
        self.memory = SupportMemory(self.num_classes, memory_per_class, backbone.num_features)

    def losses(self, episodes: Episode) -> Losses:
        return self.episode_loss(episodes)

    def forward(self, image: Tensor) -> Outputs:
        logits = self.attend(self.backbone(image), self.memory.features, self.memory.taken)
        return self.outputs(logits, self.memory.known())

    def classify_features(self, query: Tensor, *, support: Tensor) -> Tensor:
        taken = torch.ones(support.shape[:2], dtype=torch.bool, device=support.device)
        with torch.autocast(support.device.type, enabled=False):
            query, support = query.float(), support.float()
            if self.context:
                support = self.context.support(support.flatten(0, 1)).view_as(support)
            return self.attend(query, support, taken)

    def classify_support(self, query: Tensor, *, support: Tensor, members: Tensor) -> Tensor:
        if self.context:
            support = self.context.support(support)
            query = self.context.query(query, support, torch.ones_like(support[:, 0], dtype=torch.bool))
        scores = self.scale * cosine_similarity(query, support)
        return self.gather(scores[:, None], members.T > 0)

    def attend(self, query: Tensor, support: Tensor, taken: Tensor) -> Tensor:
        """query [B, D], support [C, M, D] in its context, of which those count that are `taken` [C, M] ->
        logits [B, C]: logarithms of eq. 1, but for what all classes have in common."""
        flat = support.flatten(0, 1)
        if self.context:
            query = self.context.query(query, flat, taken.flatten())
        scores = (self.scale * cosine_similarity(query, flat)).view(-1, *taken.shape)
        return self.gather(scores, taken)

    def gather(self, scores: Tensor, taken: Tensor) -> Tensor:
        """scores [B, C, M] of each class's images, or [B, 1, M] of the same for all, of which those count that are
        `taken` [C, M] -> logits [B, C]."""
        attention = scores.masked_fill(~taken, -1e4).logsumexp(2)  # the softmax's denominator is common to all classes
        return attention - taken.sum(1).clamp_min(1).log()

    def finish(self, data: Data) -> None:
        self.memory.fill(*self.features_of(data.batches("target")))
        if self.context:
            taken = self.memory.taken
            self.memory.features[taken] = self.context.support(self.memory.features[taken])

"""Prototypical networks: a class is the mean of its images' features, and an image belongs to the nearest mean.

Snell et al., 2017, arXiv:1703.05175: prototypes c_k = mean of f(x_i) over the support S_k (eq. 1), and
p(y = k | x) = softmax over k of -d(f(x), c_k) (eq. 2), with d the squared Euclidean distance.

Deviation: with `distance` "cosine", which the paper compares with (sec. 2.6), the logits are scale * cosine; without a
scale a softmax over values within [-1, 1] could hardly be sure of anything.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.losses.distance import cosine_similarity, squared_distance
from components.strategies.base import Data
from components.strategies.few_shot import FewShot, episode_sampling
from components.types import Episode, LabelSpace, Losses, Outputs


class Prototypical(FewShot):
    """`scale`: of the cosine; with `learn_scale` where it starts.

    In deployment the prototypes are the means over all labelled target training images.
    """

    streams = ("episodes",)
    prototypes: Tensor
    known: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        distance: Literal["squared_euclidean", "cosine"] = "squared_euclidean",
        scale: float = 10.0,
        learn_scale: bool = True,
        episodes_from: Literal["source", "target"] = "source",
        n_way: int = 5,
        k_shot: int = 5,
        n_query: int = 10,
    ) -> None:
        if scale <= 0:
            raise ParamsError(f"scale is {scale}, but must be positive")
        sampling = episode_sampling(episodes_from, n_way=n_way, k_shot=k_shot, n_query=n_query)
        super().__init__(backbone, label_space, sampling=sampling)
        self.distance = distance
        if distance == "cosine":
            log_scale = torch.tensor(math.log(scale))
            if learn_scale:
                self.log_scale = nn.Parameter(log_scale)
            else:
                self.register_buffer("log_scale", log_scale)
        self.register_buffer("prototypes", torch.zeros(self.num_classes, backbone.num_features))
        self.register_buffer("known", torch.zeros(self.num_classes, dtype=torch.bool))

    def losses(self, episodes: Episode) -> Losses:
        return self.episode_loss(episodes)

    def forward(self, image: Tensor) -> Outputs:
        return self.outputs(self.compare(self.backbone(image), self.prototypes), self.known)

    def classify_features(self, query: Tensor, *, support: Tensor) -> Tensor:
        return self.compare(query, support.float().mean(1))  # eq. 1

    def classify_support(self, query: Tensor, *, support: Tensor, members: Tensor) -> Tensor:
        return self.compare(query, members.T @ support / members.sum(0).clamp_min(1)[:, None])

    def compare(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """features [B, D], prototypes [C, D] -> logits [B, C]: eq. 2 before the softmax."""
        if self.distance == "cosine":
            return self.log_scale.exp() * cosine_similarity(features, prototypes)
        return -squared_distance(features, prototypes)

    def finish(self, data: Data) -> None:
        sums, counts = torch.zeros_like(self.prototypes), torch.zeros_like(self.prototypes[:, 0])
        for batch in data.batches("target"):
            one_hot = F.one_hot(batch.labels[self.task], self.num_classes).float()
            sums += one_hot.T @ self.backbone(batch.image).float()
            counts += one_hot.sum(0)
        self.prototypes.copy_(sums / counts.clamp_min(1)[:, None])
        self.known.copy_(counts > 0)

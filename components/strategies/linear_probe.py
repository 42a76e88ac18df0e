"""Linear probe: the backbone stays as it is, and a linear classifier is solved for on its features, in closed form.

Ridge regression onto the one-hot labels (Rifkin et al., 2003, "Regularized least-squares classification"):
W = (X'X + n * l2 * I)^-1 X'Y for standardised features X [n, D] and centred Y [n, C].

`l2` is chosen on the validation part out of a fixed grid. The regression's answers are no log-probabilities, so they
are multiplied by the one scale that fits the validation labels best: decisions stay, probabilities begin to mean
something.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.strategies.base import Classifier, Data
from components.types import LabelSpace

SCALES = tuple(2.0 ** (power / 2) for power in range(-2, 13))


class LinearProbe(Classifier):
    """`l2`: the values to choose from, per training image."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
    ) -> None:
        super().__init__(backbone, label_space)
        self.l2 = l2

    def param_groups(self, lr: float) -> list[dict]:
        return []

    @torch.no_grad()
    def finish(self, data: Data) -> None:
        features, labels = self._features(data.batches("target"))
        held_out, held_out_labels = self._features(data.split("val"))
        for task, size in self.label_space.sizes().items():
            solutions = [ridge(features, F.one_hot(labels[task], size).double(), l2) for l2 in self.l2]
            losses = []
            for weight, bias in solutions:
                logits = held_out @ weight.T + bias
                losses += [
                    (F.cross_entropy(scale * logits, held_out_labels[task]), scale, weight, bias) for scale in SCALES
                ]
            _, scale, weight, bias = min(losses, key=lambda loss: loss[0].item())
            head = self.heads[task]
            assert isinstance(head, nn.Linear)
            head.weight.copy_(scale * weight)
            head.bias.copy_(scale * bias)

    def _features(self, batches) -> tuple[Tensor, dict[str, Tensor]]:
        """All features [N, D] in double precision, and the labels by task, of one pass."""
        self.backbone.eval()
        features, labels = [], []
        for batch in batches:
            features.append(self.backbone(batch.image).double())
            labels.append(batch.labels)
        return torch.cat(features), {task: torch.cat([part[task] for part in labels]) for task in labels[0]}


def ridge(features: Tensor, one_hot: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    """features [n, D], one_hot [n, C] -> weight [C, D] and bias [C] of the ridge regression in the module's head.

    Features are standardised inside; the solution is given for the features as they come. A constant feature gets no
    weight.
    """
    mean, std = features.mean(0), features.std(0, correction=0)
    std = torch.where(std > 1e-12, std, torch.inf)
    x = (features - mean) / std
    offset = one_hot.mean(0)
    gram = x.T @ x + len(x) * l2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, x.T @ (one_hot - offset)).T / std
    return weight, offset - weight @ mean

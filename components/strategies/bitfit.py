"""BitFit: of the pretrained network only the biases are trained, and the new head.

Ben Zaken et al., 2022, arXiv:2106.10199, sec. 3.

Convolutions that a normalisation follows have no bias: the normalisation's shift is theirs, and is trained. Its gain is
a weight and stays. So do the running statistics of batch normalisation, which stay in use while training: the paper's
networks have none, and its point is that nothing but the biases differs from the pretrained network, so that a task
costs a thousandth of its size. Statistics that follow the data would be a second difference.

Deviation: a backbone without any bias trains its head alone.
"""

from __future__ import annotations

from torch import nn

from components.backbones.base import Backbone
from components.layers.batch_norm import keep_statistics
from components.strategies.base import Classifier
from components.types import Labelled, LabelSpace, Losses


class BitFit(Classifier):
    """Biases and head share one rate, as in the paper."""

    streams = ("target",)

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, label_smoothing: float = 0.0) -> None:
        super().__init__(backbone, label_space)
        self.label_smoothing = label_smoothing

    def advance(self, progress: float) -> None:
        keep_statistics(self.backbone)

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [{"params": [*self.heads.parameters(), *biases(self.backbone)], "lr": lr}]


def biases(network: nn.Module) -> list[nn.Parameter]:
    """Everything that is added and not multiplied with (attention layers call theirs in_proj_bias, recurrent ones
    bias_ih_l0)."""
    return [parameter for name, parameter in network.named_parameters() if "bias" in name.rpartition(".")[2]]

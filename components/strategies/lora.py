"""LoRA: the pretrained weights stay, and each gets a trained change of low rank beside it.

Hu et al., 2021, arXiv:2106.09685, eq. 3: h = W_0 x + alpha / rank * B A x. Before the first step the network is the
pretrained one; after the last, the product is added to W_0, and the model is as fast as it was.

Deviations: the paper changes the attention weights of transformers; here every convolution and linear layer of the
backbone is changed, a convolution's weight being read as a matrix [out, in * height * width]. The change is added to
the weight rather than to what it answers, which is the same by eq. 3 and lets grouped convolutions be treated alike.
Biases, normalisation layers and their statistics stay as they are.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.batch_norm import keep_statistics
from components.layers.low_rank import adapt
from components.strategies.base import Classifier, Data
from components.types import Labelled, LabelSpace, Losses


class LoRA(Classifier):
    """`rank`: of each change, at most; `alpha`: alpha / rank is the change's weight."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        rank: int = 8,
        alpha: float = 8.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        if rank < 1:
            raise ParamsError(f"rank is {rank}, but must be at least 1")
        self.label_smoothing = label_smoothing
        self._adapted = adapt(backbone, rank, alpha)

    def advance(self, progress: float) -> None:
        keep_statistics(self.backbone)

    def losses(self, target: Labelled) -> Losses:
        return self.criterion(self(target.image), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        changes = [parameter for _, low_rank in self._adapted for parameter in low_rank.parameters()]
        return [{"params": [*self.heads.parameters(), *changes], "lr": lr}]

    def finish(self, data: Data) -> None:
        for weight, low_rank in self._adapted:
            low_rank.merge(weight)

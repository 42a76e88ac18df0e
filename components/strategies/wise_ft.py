"""WiSE-FT: the answer lies between the model before and after fine-tuning, weight by weight.

Wortsman et al., 2022, arXiv:2109.01903, sec. 4: (1 - alpha) * theta_0 + alpha * theta_1.

The paper's start is CLIP's zero-shot classifier. A network without a text encoder has no such head, so the start is the
linear probe's, solved in `begin`: like the paper's, it is a classifier that works on the pretrained features. (A zero
head would say nothing, and mixing it in would only make the logits smaller.) Fine-tuning begins there, too.

The paper's networks have no batch normalisation. Here its statistics stay the pretrained ones, in use while training:
both ends share them, and a model between two ends needs none of its own.
"""

from __future__ import annotations

from torch import Tensor

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.batch_norm import keep_statistics
from components.layers.snapshot import set_between, snapshot
from components.strategies.base import Classifier, Data
from components.strategies.frozen_features import solve_heads
from components.types import Labelled, LabelSpace, Losses, Outputs


class WiseFt(Classifier):
    """`alpha`: 0 is the start, 1 the end; `body_lr_factor`: the backbone's learning rate as a share of the head's;
    `l2`: the starting probe's penalties to choose from."""

    streams = ("target",)

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        alpha: float = 0.5,
        body_lr_factor: float = 0.1,
        l2: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        if not 0 <= alpha <= 1:
            raise ParamsError(f"alpha is {alpha}, but must be between 0 (the start) and 1 (the end)")
        self.alpha = alpha
        self.body_lr_factor = body_lr_factor
        self.l2 = l2
        self.label_smoothing = label_smoothing
        # What is evaluated and exported. Training goes on in `backbone` and `heads`, which mixing leaves alone.
        self.mixed_backbone = snapshot(backbone)
        self.mixed_heads = snapshot(self.heads)
        self._start: list[dict[str, Tensor]] = []

    def begin(self, data: Data) -> None:
        solve_heads(self, data, solver="lbfgs", l2=self.l2)
        # Not saved with the rest: a training that is resumed begins again with the same start.
        self._start = [
            {key: value.clone() for key, value in part.state_dict().items()} for part in (self.backbone, self.heads)
        ]

    def advance(self, progress: float) -> None:
        keep_statistics(self.backbone)

    def losses(self, target: Labelled) -> Losses:
        outputs = self.classify(self.backbone(target.image))
        return self.criterion(outputs, target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [
            {"params": list(self.heads.parameters()), "lr": lr},
            {"params": list(self.backbone.parameters()), "lr": lr * self.body_lr_factor},
        ]

    def finish(self, data: Data) -> None:
        twins, ends = (self.mixed_backbone, self.mixed_heads), (self.backbone, self.heads)
        for twin, start, end in zip(twins, self._start, ends, strict=True):
            set_between(twin, start=start, end=end.state_dict(), alpha=self.alpha)

    def forward(self, image: Tensor) -> Outputs:
        features = self.mixed_backbone(image)
        return {task: head(features) for task, head in self.mixed_heads.items()}

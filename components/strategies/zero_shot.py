"""Zero-shot learning: how well an image's features fit a class's description decides, so that classes without a single
labelled image can be answered.

Akata et al., 2016, arXiv:1503.08677, sec. 3: the compatibility F(x, y) = f(x)' W phi(y) of features f(x) and the
class's description phi(y), and the answer argmax over y of F(x, y). Seen and unseen classes are answered together; a
constant is taken off the seen ones (Chao et al., 2016, arXiv:1605.04253, calibrated stacking), which training favours.

Deviations: W is learned by the softmax's cross-entropy over the seen classes, where the paper ranks; descriptions are
brought to length 1, as Xian et al., 2019, arXiv:1707.00600, have them. The features stay fixed, as in these papers,
unless `body_lr_factor` says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError, choices
from components.strategies.base import Strategy
from components.types import Labelled, LabelSpace, Losses, Outputs


class ZeroShot(Strategy):
    """`unseen`: names of classes whose labels, and whose labelled images, are never used; `calibration`: what seen
    classes' logits are lowered by; `body_lr_factor`: the backbone's learning rate as a share of W's, 0 to leave it as
    it is."""

    streams = ("target",)
    label_options = ("sampler",)  # the loss is one of the seen classes alone
    descriptions: Tensor
    seen: Tensor

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        unseen: tuple[str, ...] = (),
        calibration: float = 0.0,
        body_lr_factor: float = 0.0,
    ) -> None:
        super().__init__(backbone, label_space)
        self.task, names = next(iter(label_space.classes.items()))
        for name in unseen:
            if name not in names:
                raise ParamsError(
                    f"unseen names {name!r}, which is not a class of {self.task!r}; {choices(name, names)}"
                )
        if len(names) - len(set(unseen)) < 2:
            raise ParamsError(f"unseen is {list(unseen)}, which leaves fewer than two of the classes to learn from")
        vectors = (label_space.descriptions or {}).get(self.task)
        if vectors is None:
            raise ParamsError(f"zero_shot needs a description of every class of {self.task!r}: set data.attributes")
        self.calibration = calibration
        self.body_lr_factor = body_lr_factor
        self.register_buffer("descriptions", F.normalize(torch.tensor(vectors, dtype=torch.float32), dim=1))
        self.register_buffer("seen", torch.tensor([name not in unseen for name in names]))
        self.compatibility = nn.Linear(backbone.num_features, self.descriptions.shape[1], bias=False)  # W

    def losses(self, target: Labelled) -> Losses:
        labels = target.labels[self.task]
        usable = self.seen[labels]
        # Unseen classes' images must not reach the batch statistics either. Of a single image there are none to take.
        if int(usable.sum()) < 2:
            return {"cross_entropy": 0.0 * self.compatibility.weight.sum()}
        logits = self.compare(target.image[usable])[:, self.seen]
        place = self.seen.cumsum(0) - 1  # of a class among the seen ones
        return {"cross_entropy": F.cross_entropy(logits.float(), place[labels[usable]])}

    def forward(self, image: Tensor) -> Outputs:
        return {self.task: self.compare(image) - self.calibration * self.seen.float()}

    def compare(self, image: Tensor) -> Tensor:
        """image [B, 3, H, W] -> F(x, y) of all classes [B, C]."""
        return self.compatibility(self.backbone(image)).float() @ self.descriptions.T

    def param_groups(self, lr: float) -> list[dict]:
        groups = [{"params": list(self.compatibility.parameters()), "lr": lr}]
        if self.body_lr_factor:
            groups.append({"params": list(self.backbone.parameters()), "lr": lr * self.body_lr_factor})
        return groups

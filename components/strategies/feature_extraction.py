"""Feature extraction: the pretrained network as a fixed function, and a new head trained on what it answers.

Donahue et al., 2014, arXiv:1310.1531; Sharif Razavian et al., 2014, arXiv:1403.6382, who also augment the training
images.

Deviation: both papers train a support vector machine or a logistic regression to its optimum; here the head is trained
by gradient descent on random changes of the images, drawn anew in every epoch, so the backbone reads each of them anew.
The optimum without augmentation, or for a few changes of each image that stay the same, is `linear_probe`, which takes
a small part of the time.
"""

from __future__ import annotations

import torch

from components.backbones.base import Backbone
from components.strategies.base import Classifier
from components.types import Labelled, LabelSpace, Losses


class FeatureExtraction(Classifier):
    """The backbone is a function in every respect: its batch-norm statistics stay, and its dropout is off."""

    streams = ("target",)
    frozen = True

    def __init__(self, backbone: Backbone, label_space: LabelSpace, *, label_smoothing: float = 0.0) -> None:
        super().__init__(backbone, label_space)
        self.label_smoothing = label_smoothing

    def advance(self, progress: float) -> None:
        # The loop does this for modules whose own parameters are frozen; dropout and plain statistics have none.
        self.backbone.eval()

    def losses(self, target: Labelled) -> Losses:
        with torch.no_grad():
            features = self.backbone(target.image)
        return self.criterion(self.classify(features), target.labels, label_smoothing=self.label_smoothing)

    def param_groups(self, lr: float) -> list[dict]:
        return [{"params": list(self.heads.parameters()), "lr": lr}]

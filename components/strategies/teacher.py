"""A trained model that is asked and never trained: what the distillation strategies learn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.strategies.base import Strategy
from components.types import Outputs, Preprocess


class Teacher:
    """`model`: a trained strategy, or a backbone alone, which has features but no answers; `student`: how the images
    that the student is shown were preprocessed.

    Not a module, so that the teacher's weights are neither trained, saved nor exported with the student's. It sees the
    student's own images, augmentation included, put into the form that its own weights want.
    """

    def __init__(self, model: Strategy | Backbone, student: Preprocess) -> None:
        self.model = model.eval().requires_grad_(False)
        self.student = student

    @property
    def backbone(self) -> Backbone:
        return self.model if isinstance(self.model, Backbone) else self.model.backbone

    @torch.no_grad()
    def outputs(self, image: Tensor) -> Outputs:
        """The student's images [B, 3, H, W] -> task -> logits [B, C]. Raises TypeError if the teacher is a backbone."""
        if isinstance(self.model, Backbone):
            raise TypeError("the teacher is a backbone alone: it has features, but no answers to learn from")
        return self.model(self._own(image))

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """The student's images [B, 3, H, W] -> the teacher's features [B, D]."""
        return self.backbone(self._own(image))

    @torch.no_grad()
    def stages(self, image: Tensor) -> list[Tensor]:
        """The student's images [B, 3, H, W] -> what each stage of the teacher's backbone gives."""
        return stage_outputs(self.backbone, self._own(image))[0]

    def _own(self, image: Tensor) -> Tensor:
        """The image as the teacher's weights want it, on the device where the student works."""
        if next(self.model.parameters()).device != image.device:
            self.model.to(image.device)
        own = self.backbone.preprocess
        if image.ndim != 4 or own == self.student:
            return image
        shape = (1, 3, 1, 1)
        unit = image * image.new_tensor(self.student.std).view(shape) + image.new_tensor(self.student.mean).view(shape)
        if own.size != self.student.size:
            unit = F.interpolate(unit, (own.size, own.size), mode="bilinear", antialias=True, align_corners=False)
        return (unit - image.new_tensor(own.mean).view(shape)) / image.new_tensor(own.std).view(shape)


def stage_outputs(backbone: Backbone, image: Tensor) -> tuple[list[Tensor], Tensor]:
    """What each of the backbone's stages gives on the way to its features, and the features [B, D]."""
    seen: dict[int, Tensor] = {}
    stages: Sequence[nn.Module] = backbone.stages()

    def note(number: int):
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[number] = output

        return hook

    handles = [stage.register_forward_hook(note(number)) for number, stage in enumerate(stages)]
    try:
        features = backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    return [seen[number] for number in sorted(seen)], features

"""FitNets: hints from the middle of the teacher bring the student's lower half on the way; then its answers teach all.

Romero et al., 2015, arXiv:1412.6550, algorithm 1. First the hint loss (eq. 3), which trains the student up to its
guided layer and the regressor that guesses the teacher's hint from it; then distillation (eq. 2): cross-entropy with
the labels + lambda * cross-entropy with the teacher's softened answers, with lambda falling evenly from 4 to 1.

Deviations: both stages share one training and its schedule, `hint_share` of the steps for the first, where the paper
trains each until it no longer improves; the regressor is a linear map at each position (a 1x1 convolution), and where
maps differ in size, the larger one is averaged down, where the paper's convolution has a kernel as large as the
difference; the second term of eq. 2 is multiplied by temperature^2, as Hinton et al. do. Without `target_labels` the
second stage has no first term; with a backbone alone as the teacher it has nothing but that.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.layers.regressor import Regressor
from components.losses.hint import hint
from components.losses.soft_targets import soft_targets
from components.strategies.student import Student
from components.strategies.teacher import Teacher, stage_outputs
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class FeatureDistillation(Student):
    """`teacher_depth`, `student_depth`: where hint and guided layer are, from 0 (the first stage) to 1 (the last);
    `hint_share`: share of the training that is guided by hints; `soft_weight`: lambda at the beginning of the rest."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        teacher: Teacher | None = None,
        teacher_depth: float = 0.5,
        student_depth: float = 0.5,
        hint_share: float = 0.3,
        temperature: float = 3.0,
        soft_weight: float = 4.0,
        target_labels: bool = False,
    ) -> None:
        super().__init__(backbone, label_space, teacher=teacher, target_labels=target_labels)
        shares = {"teacher_depth": teacher_depth, "student_depth": student_depth, "hint_share": hint_share}
        for key, value in shares.items():
            if not 0 <= value <= 1:
                raise ParamsError(f"{key} is {value}, but must be between 0 and 1")
        if hint_share == 1:
            raise ParamsError("hint_share is 1, which leaves no step to learn answers in: take less")
        if temperature <= 0:
            raise ParamsError(f"temperature is {temperature}, but must be positive")
        self.teacher_depth = teacher_depth
        self.student_depth = student_depth
        self.hint_share = hint_share
        self.temperature = temperature
        self.soft_weight = soft_weight
        self.progress = 0.0
        image = backbone.example(1)
        with _probing(backbone):
            width = self._guided(image).shape[-1]
        # The width of the hint is the teacher's. Without one, loading the trained weights says it.
        self.regressor = Regressor(width, self._hint(image).shape[-1] if teacher else None)

    def losses(self, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        image = self.transfer_set(unlabelled, target)
        if self.progress < self.hint_share:
            return self._hint_stage(image)
        return self._answer_stage(image, target)

    def advance(self, progress: float) -> None:
        self.progress = progress

    def _hint_stage(self, image: Tensor) -> Losses:
        # What lies above the guided layer gets no gradient here, so no optimizer touches it.
        guess, given = self.regressor(self._guided(image)), self._hint(image)
        guess, given = _same_positions(guess, given)
        return {"hint": hint(student=guess, teacher=given)}

    def _answer_stage(self, image: Tensor, target: Labelled | None) -> Losses:
        outputs = self(image)
        terms: Losses = {}
        if target is not None:
            labelled = {task: logits[-len(target.image) :] for task, logits in outputs.items()}
            terms |= self.criterion(labelled, target.labels)
        if self.answers:
            answers = self.asked().outputs(image)
            done = (self.progress - self.hint_share) / (1 - self.hint_share)
            weight = self.soft_weight + (1 - self.soft_weight) * done
            for task, logits in outputs.items():
                name = f"soft_targets_{task}" if len(outputs) > 1 else "soft_targets"
                terms[name] = weight * soft_targets(student=logits, teacher=answers[task], temperature=self.temperature)
        return terms

    def _guided(self, image: Tensor) -> Tensor:
        return _channels_last(_at(self.student_depth, stage_outputs(self.backbone, image)[0]))

    def _hint(self, image: Tensor) -> Tensor:
        return _channels_last(_at(self.teacher_depth, self.asked().stages(image)))


def _at(depth: float, stages: list[Tensor]) -> Tensor:
    return stages[round(depth * (len(stages) - 1))]


def _channels_last(output: Tensor) -> Tensor:
    """A stage's output, be it a vector [B, C], a sequence [B, N, C] or a map [B, C, H, W], with its channels last.

    Images are square here, and so are maps: a map whose sides are not its last two dimensions has them last already.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3]:
        return output.movedim(1, -1)
    return output


def _same_positions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a [B, ..., C], b [B, ..., C] of other positions -> both with the same: two maps with those of the smaller, all
    else averaged over them."""
    if a.shape == b.shape:
        return a, b
    if a.ndim == b.ndim == 4:
        size = (min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2]))
        a, b = (F.adaptive_avg_pool2d(x.movedim(-1, 1), size).movedim(1, -1) for x in (a, b))
        return a, b
    a, b = (x.flatten(1, -2).mean(1) if x.ndim > 2 else x for x in (a, b))
    return a, b


@contextmanager
def _probing(module: nn.Module) -> Generator[None]:
    """For a look at shapes: no gradients, and in eval mode, which draws no random number and moves no statistic."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes.items():
            part.training = training

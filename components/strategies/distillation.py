"""Distillation: a student learns the teacher's whole answer, softened, and not only which class is the likeliest.

Hinton et al., 2015, arXiv:1503.02531, sec. 2: T^2 * cross-entropy with the teacher's softmax at temperature T + a lower
weight * cross-entropy with the correct labels at temperature 1.

The transfer set need not be labelled: without `target_labels` the first term stands alone. Temperature and weight are
those of the paper's larger experiment (sec. 4). Deviations: the student starts from pretrained weights, where it has
them; a step's labelled images are a batch of their own beside one of all images, and the teacher is asked about both.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.losses.soft_targets import soft_targets
from components.strategies.student import Student
from components.strategies.teacher import Teacher
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class Distillation(Student):
    """`target_labels`: whether the correct labels are learned too, with `hard_weight`."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        teacher: Teacher | None = None,
        temperature: float = 2.0,
        target_labels: bool = False,
        hard_weight: float = 0.5,
    ) -> None:
        super().__init__(backbone, label_space, teacher=teacher, target_labels=target_labels)
        if teacher is not None and not self.answers:
            raise ParamsError(
                "the teacher of 'distillation' is a backbone alone, without answers: take a trained strategy, or learn "
                "from its features by 'feature_distillation' or 'relational_distillation'"
            )
        if temperature <= 0:
            raise ParamsError(f"temperature is {temperature}, but must be positive")
        self.temperature = temperature
        self.hard_weight = hard_weight

    def losses(self, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        image = self.transfer_set(unlabelled, target)
        answers, outputs = self.asked().outputs(image), self(image)
        terms = {
            f"soft_targets_{task}" if len(outputs) > 1 else "soft_targets": soft_targets(
                student=logits, teacher=answers[task], temperature=self.temperature
            )
            for task, logits in outputs.items()
        }
        if target is None:
            return terms
        labelled = {task: logits[-len(target.image) :] for task, logits in outputs.items()}
        hard = self.criterion(labelled, target.labels)
        return {**terms, **{name: self.hard_weight * term for name, term in hard.items()}}

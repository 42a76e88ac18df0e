"""RKD: the student arranges images among each other as the teacher does; where each of them lies is its own affair.

Park et al., 2019, arXiv:1904.05068, sec. 3.2.3: the task's loss + a weight * the distance-wise loss + a weight *
the angle-wise loss, on the features before the classifier, with the weights of its classification experiments.

Deviation: the paper's task is cross-entropy with labels. Without `target_labels` the teacher's softened answers
(Hinton et al., 2015, arXiv:1503.02531) take their place, for which the teacher must have answers.
"""

from __future__ import annotations

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.losses.relational import relational_angle, relational_distance
from components.losses.soft_targets import soft_targets
from components.strategies.student import Student
from components.strategies.teacher import Teacher
from components.types import Labelled, LabelSpace, Losses, Unlabelled


class RelationalDistillation(Student):
    """`temperature`: of the teacher's answers, where they are learned instead of labels."""

    def __init__(
        self,
        backbone: Backbone,
        label_space: LabelSpace,
        *,
        teacher: Teacher | None = None,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        temperature: float = 4.0,
        target_labels: bool = False,
    ) -> None:
        super().__init__(backbone, label_space, teacher=teacher, target_labels=target_labels)
        if temperature <= 0:
            raise ParamsError(f"temperature is {temperature}, but must be positive")
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight
        self.temperature = temperature

    def losses(self, unlabelled: Unlabelled, target: Labelled | None = None) -> Losses:
        image = self.transfer_set(unlabelled, target)
        features, known = self.backbone(image), self.asked().features(image)
        outputs = self.classify(features)
        if target is not None:
            labelled = {task: logits[-len(target.image) :] for task, logits in outputs.items()}
            terms = self.criterion(labelled, target.labels)
        else:
            answers = self.asked().outputs(image)
            terms = {
                f"soft_targets_{task}" if len(outputs) > 1 else "soft_targets": soft_targets(
                    student=logits, teacher=answers[task], temperature=self.temperature
                )
                for task, logits in outputs.items()
            }
        return {
            **terms,
            "distance": self.distance_weight * relational_distance(student=features, teacher=known),
            "angle": self.angle_weight * relational_angle(student=features, teacher=known),
        }

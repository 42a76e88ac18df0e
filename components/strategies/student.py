"""What the distillation strategies share: a teacher to ask, and the images that it is asked about."""

from __future__ import annotations

import torch
from torch import Tensor

from components.backbones.base import Backbone
from components.errors import ParamsError
from components.strategies.base import Classifier
from components.strategies.teacher import Teacher
from components.types import Labelled, LabelSpace, Unlabelled


class Student(Classifier):
    """A classifier that learns from all of the target's training images what the teacher makes of them, and with
    `target_labels` from the labelled ones also what they are.

    There is a teacher while training and none afterwards: nothing but `losses` may ask it.
    """

    streams = ("unlabelled",)

    def __init__(
        self, backbone: Backbone, label_space: LabelSpace, *, teacher: Teacher | None, target_labels: bool
    ) -> None:
        super().__init__(backbone, label_space)
        self.teacher = teacher
        self.target_labels = target_labels
        if target_labels:
            self.streams = ("unlabelled", "target")
        self.answers = teacher is not None and not isinstance(teacher.model, Backbone)
        """Whether the teacher classifies; a backbone alone has features only."""
        if teacher is not None and not isinstance(teacher.model, Backbone):
            for task, names in label_space.classes.items():
                others = teacher.model.label_space.classes.get(task)
                if others != names:
                    raise ParamsError(
                        f"the teacher's classes of {task!r} are {others}, but the student's are {names}: take a "
                        "teacher of the same classes in the same order"
                    )
        elif teacher is not None and not target_labels:
            raise ParamsError(
                "target_labels is False, but the teacher is a backbone alone, which answers nothing that a classifier "
                "could learn instead: set target_labels to true, or take a trained strategy as the teacher"
            )

    def asked(self) -> Teacher:
        """The teacher. Raises TypeError where there is none."""
        if self.teacher is None:
            raise TypeError(f"{type(self).__name__} was made without a teacher: it can answer, but not learn")
        return self.teacher

    def transfer_set(self, unlabelled: Unlabelled, target: Labelled | None) -> Tensor:
        """The images of the step [B, 3, H, W]; the labelled ones, where there are any, come last."""
        # One pass for all: apart, each part would be normalised by its own batch statistics.
        return unlabelled.image if target is None else torch.cat([unlabelled.image, target.image])

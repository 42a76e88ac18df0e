"""What a model says of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Answer:
    """The most probable class, and the probabilities of all, in the order of the class names."""

    class_name: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Prediction(Answer):
    """`abstain`: the model is less sure than it must be to answer by itself; `tasks`: the answers to further questions
    about the same image, by task."""

    abstain: bool = False
    tasks: dict[str, Answer] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Stands in the place of an image that there is no answer for."""

    reason: str


def predictions(
    classes: Mapping[str, Sequence[str]], probabilities: Mapping[str, np.ndarray], task: str, abstain_below: float
) -> list[Prediction]:
    """Class names and probabilities [B, C] by task -> B predictions, whose own answer is `task`'s."""
    further = {name: _answers(classes[name], probabilities[name]) for name in classes if name != task}
    return [
        Prediction(
            answer.class_name,
            answer.probability,
            answer.probabilities,
            answer.probability < abstain_below,
            {name: answers[row] for name, answers in further.items()},
        )
        for row, answer in enumerate(_answers(classes[task], probabilities[task]))
    ]


def _answers(names: Sequence[str], probabilities: np.ndarray) -> list[Answer]:
    best = probabilities.argmax(1).tolist()
    return [
        Answer(names[place], row[place], dict(zip(names, row, strict=True)))
        for place, row in zip(best, probabilities.tolist(), strict=True)
    ]

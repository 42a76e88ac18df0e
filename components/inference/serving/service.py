"""The predictor as a service: requests' images in, predictions out, many requests at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from components import machine
from components.data import images
from components.errors import DataError
from components.inference.answers import Prediction, predictions
from components.inference.predictor import FEATURES, Predictor
from components.inference.serving.batcher import Batcher, Full
from components.inference.serving.limits import Limits, Refused, busy
from components.inference.serving.uploads import require_known_format

if TYPE_CHECKING:
    from components.inference.observer import Observer


class Question(NamedTuple):
    """`content`: an image file's bytes; `features`: whether the answer is to hold them."""

    content: bytes
    features: bool


class Item(NamedTuple):
    """A question whose image is decoded: uint8 [S, S, 3]; `content`: where the observer wants it."""

    pixels: np.ndarray
    features: bool
    content: bytes | None = None


class Answer(NamedTuple):
    """`features`: float [D], where they were asked for."""

    prediction: Prediction
    features: np.ndarray | None


class Service:
    """One predictor and its queue.

    `state` is "starting" until `start`, "ready", and "stopping" from the moment a stop was asked for: what was accepted
    is still answered then, and so is what still comes in until the port is closed. `observer`: is told of every batch,
    and wants a model that has features.
    """

    def __init__(
        self,
        predictor: Predictor,
        limits: Limits,
        *,
        max_batch: int,
        max_delay_s: float,
        capacity: int,
        observer: Observer | None = None,
    ) -> None:
        self.predictor, self.limits, self.observer = predictor, limits, observer
        self.max_batch, self.max_delay_s, self.capacity = max_batch, max_delay_s, capacity
        self.state: Literal["starting", "ready", "stopping"] = "starting"
        self.answered = 0
        """Requests that got a prediction."""
        self._outputs = {task: predictor.output("probabilities", task) for task in predictor.classes}

    @property
    def has_features(self) -> bool:
        return FEATURES in self.predictor.model.session.outputs

    @property
    def full(self) -> bool:
        return self._batcher.accepted >= self.capacity

    def warm_up(self) -> None:
        """Answers the smallest and the largest batch, so that no client waits for what a first run sets up."""
        side = self.predictor.preprocess.resize
        for size in sorted({1, self.max_batch}):
            self._answers([Item(np.zeros((side, side, 3), np.uint8), False)] * size)

    def start(self) -> None:
        """On the event loop that the questions will come from."""
        self._batcher = Batcher(
            self.prepare,
            self.run,
            max_batch=self.max_batch,
            max_delay_s=self.max_delay_s,
            capacity=self.capacity,
            workers=machine.physical_cores(),
        )
        self.state = "ready"

    async def stop(self) -> None:
        self.state = "stopping"
        await self._batcher.close()

    async def answer(self, questions: Sequence[Question]) -> list[Answer | Refused]:
        """In the order of the questions. Raises Refused when the queue is full, and whatever the model raises."""
        try:
            waiting = self._batcher.submit(questions)
        except Full as full:
            raise busy(str(full)) from None
        answers = [await answer for answer in waiting]
        for found in answers:
            if isinstance(found, Exception) and not isinstance(found, Refused):
                raise found
        return answers

    def prepare(self, question: Question) -> Item:
        """Raises Refused for what is no image, or none that can be used."""
        require_known_format(question.content)
        try:
            keeps = self.observer is not None and self.observer.keeps_images
            pixels = self.predictor.pixels(question.content)
            return Item(pixels, question.features, question.content if keeps else None)
        except images.TooManyPixels as error:
            raise Refused(413, str(error)) from None
        except DataError as error:
            raise Refused(422, str(error)) from None
        except MemoryError:
            raise Refused(422, "there is not enough memory to decode the image") from None

    def run(self, items: list[Item]) -> list[Answer]:
        """One run of the model for images of any number of requests."""
        outputs, answers = self._answers(items)
        if self.observer is not None:
            chances = outputs[self._outputs[self.predictor.task]]
            self.observer.add(outputs[FEATURES], chances, [item.content for item in items])
        return answers

    def _answers(self, items: list[Item]) -> tuple[dict[str, np.ndarray], list[Answer]]:
        """The outputs of the model, and what they say."""
        names = list(self._outputs.values())
        if self.observer is not None or any(item.features for item in items):
            names.append(FEATURES)
        outputs = self.predictor.run(np.stack([item.pixels for item in items]), names)
        chances = {task: outputs[name] for task, name in self._outputs.items()}
        found = predictions(self.predictor.classes, chances, self.predictor.task, self.predictor.abstain_below)
        return outputs, [
            Answer(prediction, outputs[FEATURES][row] if item.features else None)
            for row, (item, prediction) in enumerate(zip(items, found, strict=True))
        ]

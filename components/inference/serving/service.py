"""A model as a service: requests' images in, predictions out, many requests at once, and another model in its place
without a pause."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

from components import machine
from components.inference.serving.batcher import Batcher, Full
from components.inference.serving.limits import Limits, Refused, busy
from components.inference.serving.loaded import Answer, Item, Loaded, Question

__all__ = ["Answer", "Loaded", "Question", "Service"]


class Asked(NamedTuple):
    """A question, and the model that answered when its request was accepted: all images of a request are that one's."""

    model: Loaded
    question: Question


class Service:
    """A model and its queue.

    `state` is "starting" until `start`, "ready", and "stopping" from the moment a stop was asked for: what was accepted
    is still answered then, and so is what still comes in until the port is closed.

    `model` answers what is accepted from now on. `replace` puts another in its place, and what was accepted before is
    still answered by the one before, which is closed after its last request.
    """

    def __init__(self, model: Loaded, limits: Limits, *, max_delay_s: float, capacity: int) -> None:
        self.model, self.limits = model, limits
        self.max_delay_s, self.capacity = max_delay_s, capacity
        self.state: Literal["starting", "ready", "stopping"] = "starting"
        self.answered = 0
        """Requests that got a prediction."""
        self.reloads = self.refused_reloads = 0
        """How often another model took over, and how often one was there that could not."""
        self.refusal: str | None = None
        """Why what lies in the model's place by now does not answer."""
        self._lock = threading.Lock()  # of the model and of how many requests each has

    @property
    def waiting(self) -> int:
        """Images that were accepted and are not answered yet."""
        return self._batcher.accepted

    @property
    def full(self) -> bool:
        return self.waiting >= self.capacity

    def start(self) -> None:
        """On the event loop that the questions will come from."""
        self._batcher = Batcher(
            lambda asked: asked.model.prepare(asked.question),
            self.run,
            max_batch=self.model.max_batch,
            max_delay_s=self.max_delay_s,
            capacity=self.capacity,
            workers=machine.physical_cores(),
        )
        self.state = "ready"

    async def stop(self) -> None:
        self.state = "stopping"
        await self._batcher.close()

    def replace(self, model: Loaded) -> None:
        """From any thread, once the service was started. `model` has been warmed up."""
        with self._lock:
            before, self.model = self.model, model
            unused = not before.requests
        self._batcher.max_batch = model.max_batch
        self.reloads += 1
        self.refusal = None
        if unused:
            before.close()

    def refuse(self, reason: str) -> None:
        """What lies in the model's place cannot answer."""
        self.refused_reloads += 1
        self.refusal = reason

    async def answer(self, questions: Sequence[Question]) -> list[Answer | Refused]:
        """In the order of the questions, and all by the same model. Raises Refused when the queue is full or the model
        has no features that were asked for, and whatever the model raises."""
        with self._asked() as model:
            if any(question.features for question in questions):
                model.require_features()
            try:
                waiting = self._batcher.submit([Asked(model, question) for question in questions])
            except Full as full:
                raise busy(str(full)) from None
            answers = [await answer for answer in waiting]
        for found in answers:
            if isinstance(found, Exception) and not isinstance(found, Refused):
                raise found
        return answers

    def run(self, items: list[Item]) -> list[Answer]:
        """One run for each model that the images are for: of several only while one is replaced by another."""
        if all(item.model is items[0].model for item in items):
            return items[0].model.answer(items)
        places: dict[Loaded, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(item.model, []).append(place)
        found: dict[int, Answer] = {}
        for model, own in places.items():
            found |= zip(own, model.answer([items[place] for place in own]), strict=True)
        return [found[place] for place in range(len(items))]

    @contextmanager
    def _asked(self) -> Generator[Loaded]:
        """The model, for one request."""
        with self._lock:
            model = self.model
            model.requests += 1
        try:
            yield model
        finally:
            with self._lock:
                model.requests -= 1
                unused = model is not self.model and not model.requests
            if unused:
                model.close()

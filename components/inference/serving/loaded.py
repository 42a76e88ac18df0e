"""A model in use by the server, with all that changes when another bundle takes its place: how images are decoded, the
classes, the route, the batch size, and who writes down what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from components import jsonfile
from components.data import images
from components.deployment import bundle as bundles
from components.errors import DataError
from components.inference.answers import Prediction, predictions
from components.inference.identity import identity
from components.inference.predictor import FEATURES, Predictor
from components.inference.serving.limits import Refused
from components.inference.serving.uploads import require_known_format

if TYPE_CHECKING:
    from components.inference.observer import Observer


class Question(NamedTuple):
    """`content`: an image file's bytes; `features`: whether the answer is to hold them."""

    content: bytes
    features: bool


class Item(NamedTuple):
    """A question whose image is decoded for `model`: uint8 [S, S, 3]; `content`: where its observer wants it."""

    model: Loaded
    pixels: np.ndarray
    features: bool
    content: bytes | None = None


class Answer(NamedTuple):
    """`features`: float [D], where they were asked for; `bundle`: the identity of the one that answered."""

    prediction: Prediction
    features: np.ndarray | None
    bundle: str | None


class Loaded:
    """`max_batch`: most images in one run; `observer`: is told of every batch, and wants a model that has features.

    `identity`: of the bundle, and `release`: what its release.json says; None for a model file without its bundle, and
    for a bundle that nobody promoted. `requests`: those that it is answering, which only `Service` counts.

    Raises DataError when the folder by now holds another bundle than the one that was loaded.
    """

    def __init__(self, predictor: Predictor, *, max_batch: int, observer: Observer | None = None) -> None:
        self.predictor, self.max_batch, self.observer = predictor, max_batch, observer
        self.identity: str | None = None
        self.release: dict[str, Any] | None = None
        if predictor.bundle.is_dir():
            self.identity = identity(predictor)
            release = predictor.bundle / bundles.RELEASE
            self.release = jsonfile.read(release) if release.exists() else None
        self.requests = 0
        self._outputs = {task: predictor.output("probabilities", task) for task in predictor.classes}

    def __str__(self) -> str:
        name = self.predictor.facts.get("strategy", self.predictor.bundle.name)
        return f"{name} ({self.predictor.precision} on {self.predictor.provider})"

    @property
    def has_features(self) -> bool:
        return FEATURES in self.predictor.model.session.outputs

    def require_features(self) -> None:
        """Raises Refused for a model that was exported without them."""
        if not self.has_features:
            raise Refused(400, "this model gives no features: it was exported without them")

    def warm_up(self) -> None:
        """Answers the smallest and the largest batch, so that no client waits for what a first run sets up. Raises
        DataError for answers that are no probabilities."""
        side = self.predictor.preprocess.resize
        for size in sorted({1, self.max_batch}):
            black = Item(self, np.zeros((side, side, 3), np.uint8), False)
            for chances in self._run([black] * size)[1].values():
                if not np.isfinite(chances).all() or np.abs(chances.sum(1) - 1).max() > 1e-2:
                    raise DataError(
                        f"{self.predictor.model.selection.file} answers a black image with no probabilities"
                    )

    def prepare(self, question: Question) -> Item:
        """Raises Refused for what is no image, or none that can be used."""
        require_known_format(question.content)
        try:
            keeps = self.observer is not None and self.observer.keeps_images
            pixels = self.predictor.pixels(question.content)
            return Item(self, pixels, question.features, question.content if keeps else None)
        except images.TooManyPixels as error:
            raise Refused(413, str(error)) from None
        except DataError as error:
            raise Refused(422, str(error)) from None
        except MemoryError:
            raise Refused(422, "there is not enough memory to decode the image") from None

    def answer(self, items: Sequence[Item]) -> list[Answer]:
        """One run of the model for images of any number of requests."""
        outputs, chances = self._run(items)
        if self.observer is not None:
            self.observer.add(outputs[FEATURES], chances[self.predictor.task], [item.content for item in items])
        found = predictions(self.predictor.classes, chances, self.predictor.task, self.predictor.abstain_below)
        return [
            Answer(prediction, outputs[FEATURES][row] if item.features else None, self.identity)
            for row, (item, prediction) in enumerate(zip(items, found, strict=True))
        ]

    def close(self) -> None:
        """Nobody asks it any more."""
        if self.observer is not None:
            self.observer.close()

    def _run(self, items: Sequence[Item]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The outputs of the model by name, and the probabilities [B, C] among them by task."""
        names = list(self._outputs.values())
        if self.observer is not None or any(item.features for item in items):
            names.append(FEATURES)
        outputs = self.predictor.run(np.stack([item.pixels for item in items]), names)
        return outputs, {task: outputs[name] for task, name in self._outputs.items()}

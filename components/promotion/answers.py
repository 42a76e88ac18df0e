"""What a bundle answers in the code that serves it, by the route that it is or would be served by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components import paths
from components.deployment import bundle
from components.errors import DataError
from components.inference.predictor import Predictor
from components.runtimes.routes import Route
from components.speed.shipping import Shipping
from components.types import TASK

BATCH = 64
"""Images answered at once."""


@dataclass(frozen=True)
class Answers:
    """`names` [N]: the class decided for; `confidence` float64 [N]: its probability; `right` bool [N]: whether it is
    the true class; `answered` bool [N]: whether its probabilities are numbers. What is not answered is not right and
    has no confidence."""

    names: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    answered: np.ndarray


@dataclass(frozen=True)
class Served:
    """A bundle that is ready to answer. `facts`: its bundle.json; `shipping`: what of it is or would be served."""

    facts: Mapping[str, Any]
    predictor: Predictor
    shipping: Shipping

    @classmethod
    def load(cls, folder: Path, shipping: Shipping | None = None) -> Served:
        """`shipping`: how it is to be served; without, by the route that it says itself. Raises DataError for a bundle
        that is damaged or does not answer the question that is compared, MachineError where it does not run here."""
        facts = bundle.read(folder)
        if TASK not in facts["classes"]:
            raise DataError(f"{folder} answers {', '.join(facts['classes'])}, but no {TASK!r}: it cannot be compared")
        if shipping is None or shipping.route is None:
            return cls(facts, Predictor.load(folder), shipping or Shipping())
        route = shipping.route
        predictor = Predictor.load(folder, provider=route.provider, precision=route.precision, options=shipping.options)
        return cls(facts, predictor, shipping)

    @property
    def identity(self) -> str:
        return bundle.identity(dict(self.facts))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.predictor.classes[TASK])

    @property
    def route(self) -> Route:
        return self.predictor.model.selection.route

    @property
    def size_mib(self) -> float:
        """Of the file that answers, with its external weights."""
        file = self.predictor.model.selection.file
        return sum(path.stat().st_size for path in (file, paths.external(file)) if path.exists()) / 2**20

    @property
    def agreement(self) -> float | None:
        """The least of the shares of images on which a file decides as the trained model does: fp32's, with images as
        they are prepared and as they are sent, and that of further ones that are no reduced precision (those have
        gates of their own). None where the bundle tells none."""
        found = [
            entry["agreement"]
            for proof in self.facts.get("parity", {}).values()
            for entry in (proof, proof.get("raw") or {})
            if "agreement" in entry
        ]
        return min(found, default=None)


def answer(served: Served, pixels: np.ndarray, files: Sequence[Path] | None, true: np.ndarray) -> Answers:
    """`pixels` uint8 [N, S, S, 3] as they were prepared for some model; `files`: where they were read from, None where
    they are kept as pixels alone; `true` [N]: the names of their classes.

    A model that takes images of another size gets them from the files: what was scaled for one model's size and then
    for another's would be held against it. Raises DataError where a file is missing then.
    """
    predictor, classes = served.predictor, np.array(served.classes)
    output, side = predictor.output("probabilities"), predictor.preprocess.resize
    chunks = []
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        if pixels.shape[1] != side:
            sources = list(batch) if files is None else files[start : start + BATCH]
            batch = np.stack([predictor.pixels(source) for source in sources])
        chunks.append(predictor.run(np.ascontiguousarray(batch), [output])[output])
    chances = np.concatenate(chunks).astype(np.float64)
    answered: np.ndarray = np.isfinite(chances).min(1)
    chances = np.where(answered[:, None], chances, 0.0)
    names = classes[chances.argmax(1)]
    return Answers(names, chances.max(1), (names == true) & answered, answered)

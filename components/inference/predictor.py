"""Images in, class names and probabilities out: a bundle's model with nothing but numpy, Pillow and onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data import images
from components.errors import DataError, GraftError
from components.inference.session import open_session
from components.types import TASK, Preprocess


@dataclass(frozen=True)
class Prediction:
    """The most probable class of one image, and the probabilities of all, in the order of the class names."""

    class_name: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """A model file, ready to answer.

    `model`: path of an .onnx file that Graft exported, or of a bundle that holds one; `provider`: "auto", "cpu" or
    "cuda". Raises DataError when it is no such file, MachineError when the provider does not load.
    """

    def __init__(self, model: Path, *, provider: str = "auto", threads: int | None = None) -> None:
        file = model / "model.fp32.onnx" if model.is_dir() else model
        if not file.is_file():
            raise DataError(f"there is no model at {file}")
        try:
            self.session = open_session(str(file), provider, threads)
        except GraftError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base with anything
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{file} is not a model that onnxruntime can load: {reason}") from None
        self.provider = self.session.get_providers()[0]
        metadata = self.session.get_modelmeta().custom_metadata_map
        if "graft" not in metadata:
            raise DataError(f"{file} was not exported by Graft: its metadata names no classes")
        try:
            self.facts: dict = json.loads(metadata["graft"])
            self.classes: dict[str, list[str]] = self.facts["classes"]
            self.preprocess = Preprocess.from_dict(self.facts["preprocess"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the metadata of {file} is not Graft's: {type(error).__name__} {error}") from None

    def pixels(self, source: Path | bytes) -> np.ndarray:
        """An image file, or its bytes, at the model's own size: uint8 [S, S, 3]. The same steps as in training."""
        image = images.decode(source) if isinstance(source, bytes) else images.read(source)
        side = self.preprocess.resize
        return images.fit(image, resize=side, size=side, interpolation=self.preprocess.interpolation)

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [B, H, W, 3] -> every output of the model by name, float [B, C]."""
        names = [output.name for output in self.session.get_outputs()]
        answers: list[Any] = list(self.session.run(names, {"image": batch}))
        return dict(zip(names, answers, strict=True))

    def output(self, kind: str, task: str = TASK) -> str:
        """Name of the output that holds a task's "logits" or "probabilities"."""
        return f"{kind}_{task}" if len(self.classes) > 1 else kind

    def logits(self, sources: Sequence[Path], batch_size: int = 64) -> dict[str, np.ndarray]:
        """Files -> task -> logits [N, C]."""
        answers = [self.run(batch) for batch in self._batches(sources, batch_size)]
        return {
            task: np.concatenate([answer[self.output("logits", task)] for answer in answers]) for task in self.classes
        }

    def predict(self, sources: Sequence[Path], batch_size: int = 64) -> Iterator[Prediction]:
        """One prediction for each file, in order, as soon as its batch is done."""
        names = self.classes[TASK]
        for batch in self._batches(sources, batch_size):
            for row in self.run(batch)[self.output("probabilities")]:
                best = int(row.argmax())
                everything = {name: float(value) for name, value in zip(names, row, strict=True)}
                yield Prediction(names[best], float(row[best]), everything)

    def _batches(self, sources: Iterable[Path], batch_size: int) -> Iterator[np.ndarray]:
        batch: list[np.ndarray] = []
        for source in sources:
            batch.append(self.pixels(source))
            if len(batch) == batch_size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)

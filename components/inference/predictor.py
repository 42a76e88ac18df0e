"""Images in, class names and probabilities out: a bundle's model with nothing but numpy, Pillow and onnxruntime."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from components import machine
from components.data import images
from components.errors import DataError, ParamsError
from components.inference import metadata, stream
from components.inference.answers import Failure, Prediction, predictions
from components.inference.model import IMAGE, Model
from components.inference.selection import Selection, select
from components.runtimes.options import Options
from components.types import TASK, Preprocess

if TYPE_CHECKING:
    from components.inference.observer import Observer

__all__ = ["Failure", "Prediction", "Predictor", "Source"]

Source = Path | str | bytes | Image.Image | np.ndarray
"""An image: its file, the file's content, or its pixels, uint8 [H, W], [H, W, 3] or [H, W, 4]."""

BATCH_SIZES = {"cpu": 8, "openvino": 8, "cuda": 64, "tensorrt": 64}
"""Images in a batch where nobody says. A GPU idles with fewer. On a CPU, time per image is within a tenth of its least
from 8 on for a small net at 32 pixels, but a MobileNetV3 at 224 takes 1.1 times as long with 16 and 1.6 times with 64,
whose activations no longer fit its caches."""

FEATURES = "features"
METADATA = "graft"
"""Key of the ONNX metadata entry that holds the facts, as JSON."""

_loading = threading.Lock()
"""Of images that Pillow has opened but not loaded: its file object is not for two threads, and the same image may come
twice."""


class Item(NamedTuple):
    """An image that is decoded: uint8 [S, S, 3], and the content of its file where somebody wants it."""

    pixels: np.ndarray
    content: bytes | None


class Predictor:
    """A model that is ready to answer, from as many threads as like to ask.

    `load` makes one. `facts`: what the model says of itself; `classes`: task -> names in the order of the logits;
    `abstain_below`: the probability under which an answer is marked.
    """

    def __init__(
        self, bundle: Path, selection: Selection, *, coverage: float | None, max_pixels: int, cache: bool, brief: bool
    ) -> None:
        self.bundle = bundle
        self.facts = _facts(selection.file)
        self.classes: dict[str, list[str]] = self.facts["classes"]
        self.preprocess = Preprocess.from_dict(self.facts["preprocess"])
        self.abstain_below = _threshold(self.facts, coverage)
        self.max_pixels = max_pixels
        self.decoders = machine.physical_cores()
        """Threads that decode images ahead of the model."""
        self.model = Model(selection, self.preprocess.resize, cache=cache, brief=brief)
        self.constants: dict[str, np.ndarray] = {}
        """Inputs beside the image that every batch is answered with."""

    @classmethod
    def load(
        cls,
        bundle: Path,
        *,
        provider: str = "auto",
        precision: str = "auto",
        options: Options | None = None,
        coverage: float | None = None,
        max_pixels: int = images.MAX_PIXELS,
        cache: bool = True,
        brief: bool = False,
    ) -> Predictor:
        """`bundle`: a bundle's folder, or an .onnx file that Graft exported. `provider`, `precision`: exactly that one,
        or an error; "auto" is what `graft tune` found on this type of machine, else fp32 on the GPU where there is one.
        `options`: of the session. `coverage`: the share of images to answer, out of those that the bundle has a
        threshold for (by default the one that it was exported with). `max_pixels`: of an image. `cache`: start from the
        optimised graph that an earlier start left on this machine, or leave one: half the time, and less memory.
        `brief`: for a few images, so that the start matters more than the speed: sooner still, and least memory.

        Raises DataError when the bundle is damaged or is none, MachineError when this machine cannot run it so,
        ParamsError for a coverage that the bundle does not know.
        """
        selection = select(bundle, provider, precision, options)
        return cls(bundle, selection, coverage=coverage, max_pixels=max_pixels, cache=cache, brief=brief)

    @property
    def provider(self) -> str:
        return self.model.session.provider

    @property
    def precision(self) -> str:
        return self.model.selection.route.precision

    @property
    def task(self) -> str:
        """The task whose answer is the prediction's own."""
        return TASK if TASK in self.classes else next(iter(self.classes))

    def pixels(self, source: Source) -> np.ndarray:
        """An image at the model's own size: uint8 [S, S, 3], S = `preprocess.resize`. Of a file and of its content, the
        same steps as in training, to the bit; pixels are taken as they are, so those of a large JPEG that somebody else
        decoded whole may come out a grey level off.

        Raises DataError when there is no image, or none that can be used.
        """
        return self._item(source, keep_content=False).pixels

    def run(self, batch: np.ndarray, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """uint8 [B, H, W, 3] -> the outputs asked for, or all of the model's, by name, float [B, C].

        Fastest at the model's own size; for others it resizes by itself.
        """
        return self.model.run({IMAGE: batch, **self.constants}, names)

    def output(self, kind: str, task: str = TASK) -> str:
        """Name of the output that holds a task's "logits" or "probabilities"."""
        return f"{kind}_{task}" if len(self.classes) > 1 else kind

    def predict(
        self, sources: Iterable[Source], batch_size: int | None = None, observer: Observer | None = None
    ) -> Iterator[Prediction | Failure]:
        """One prediction for each image, in order, as soon as its batch is done; in the place of an image that cannot
        be used, a failure that says why.

        `sources` may be endless: no more than two batches are taken ahead, and decoded while the model computes. An
        array or a PIL image must not change before its answer has come. `observer`: is told of every batch, and wants a
        model that has features.
        """
        outputs = {task: self.output("probabilities", task) for task in self.classes}
        names = [*outputs.values(), *([FEATURES] if observer else [])]
        for batch in self._decoded(sources, batch_size, keep_content=observer is not None and observer.keeps_images):
            found = [item for item in batch if not isinstance(item, Failure)]
            answered: Iterator[Prediction] = iter(())
            if found:
                answers = self.run(np.stack([item.pixels for item in found]), names)
                chances = {task: answers[name] for task, name in outputs.items()}
                if observer is not None:
                    observer.add(answers[FEATURES], chances[self.task], [item.content for item in found])
                answered = iter(predictions(self.classes, chances, self.task, self.abstain_below))
            for item in batch:
                yield item if isinstance(item, Failure) else next(answered)

    def logits(self, sources: Iterable[Source], batch_size: int | None = None) -> dict[str, np.ndarray]:
        """Images -> task -> logits [N, C]. Raises DataError for the first image that cannot be used."""
        names = {task: self.output("logits", task) for task in self.classes}
        found = self._outputs(sources, list(names.values()), batch_size)
        return {task: found[name] for task, name in names.items()}

    def features(self, sources: Iterable[Source], batch_size: int | None = None) -> np.ndarray:
        """Images -> what the backbone makes of them, [N, D]. Raises DataError for the first image that cannot be used,
        and for a model that was exported without this output."""
        self.require_features()
        return self._outputs(sources, [FEATURES], batch_size)[FEATURES]

    def require_features(self) -> None:
        """Raises DataError for a model that was exported without this output."""
        if FEATURES not in self.model.session.outputs:
            raise DataError(
                f"{self.model.selection.file} gives no features: it was exported with export.features false"
            )

    def with_support(self, support: Mapping[str, Iterable[Source]]) -> Predictor:
        """The same network answering among other classes, by a few images of each and without training: see
        `components.inference.support`."""
        from components.inference.support import with_support

        return with_support(self, support)

    def _outputs(self, sources: Iterable[Source], names: list[str], batch_size: int | None) -> dict[str, np.ndarray]:
        found: list[dict[str, np.ndarray]] = []
        for batch in self._decoded(sources, batch_size):
            usable = []
            for item in batch:
                if isinstance(item, Failure):
                    raise DataError(item.reason)
                usable.append(item.pixels)
            found.append(self.run(np.stack(usable), names))
        if not found:
            raise DataError("there are no images to answer")
        return {name: np.concatenate([answer[name] for answer in found]) for name in names}

    def _decoded(
        self, sources: Iterable[Source], batch_size: int | None, *, keep_content: bool = False
    ) -> Iterator[list[Item | Failure]]:
        """Decoded two batches ahead of the one that is asked for."""
        size = BATCH_SIZES[self.provider] if batch_size is None else batch_size
        if size < 1:
            raise ParamsError(f"batch_size is {size}, but must be at least 1")
        distance = 2 * max(size, self.decoders)
        work = partial(self._item_or_failure, keep_content=keep_content)
        return stream.batches(stream.ahead(work, sources, threads=self.decoders, distance=distance), size)

    def _item_or_failure(self, source: Source, *, keep_content: bool) -> Item | Failure:
        try:
            return self._item(source, keep_content=keep_content)
        except DataError as error:
            return Failure(str(error))
        except MemoryError:
            return Failure("there is not enough memory to decode it")

    def _item(self, source: Source, *, keep_content: bool) -> Item:
        side, interpolation = self.preprocess.resize, self.preprocess.interpolation
        if isinstance(source, Path | str):
            origin, content = images.printable(source), images.file_content(Path(source))
        elif isinstance(source, bytes):
            origin, content = "the image", source
        else:
            return Item(images.fit(self._image(source), resize=side, size=side, interpolation=interpolation), None)
        found, _ = images.pixels(
            content,
            resize=side,
            size=side,
            interpolation=interpolation,
            origin=origin,
            max_pixels=self.max_pixels,
        )
        return Item(found, content if keep_content else None)

    def _image(self, source: Image.Image | np.ndarray) -> Image.Image:
        if isinstance(source, np.ndarray):
            return images.from_array(source)
        if isinstance(source, Image.Image):
            with _loading:
                return images.rgb(source, max_pixels=self.max_pixels)
        raise DataError(f"an image is a path, bytes, a PIL image or a uint8 array, not a {type(source).__name__}")


def _facts(file: Path) -> dict[str, Any]:
    """What a model says of itself, checked as far as prediction needs it."""
    entries = metadata.read(file)
    if METADATA not in entries:
        raise DataError(f"{file} was not exported by Graft: its metadata names no classes")
    try:
        facts = json.loads(entries[METADATA])
        Preprocess.from_dict(facts["preprocess"])
        {task: list(names) for task, names in facts["classes"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the metadata of {file} is not Graft's: {type(error).__name__} {error}") from None
    return facts


def _threshold(facts: Mapping[str, Any], coverage: float | None) -> float:
    """The probability below which to abstain; 0, which is never, for a model that knows none."""
    if coverage is None:
        return float(facts.get("abstain_below") or 0.0)
    known = {row["coverage"]: float(row["threshold"]) for row in facts.get("abstain") or ()}
    if coverage not in known:
        there = ", ".join(map(str, known))
        raise ParamsError(
            f"coverage {coverage} has no threshold in this model; "
            + (f"choose from: {there}" if known else "it has none at all")
        )
    return known[coverage]

"""The proof of a full-precision file: on image files, by every way into the graph, it answers like the torch model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components import paths, tensorfile
from components.admission import parity, preprocessing
from components.data import images
from components.data.prepared import Prepared
from components.deployment import onnx_export
from components.errors import DataError, GraftError, ParityError
from components.inference.predictor import Predictor
from components.params import ExportParams
from components.runtimes.routes import PARENT, Route
from components.runtimes.session import open_session
from components.types import TASK, Preprocess

BATCH = 64
RAW_PROVIDERS = ("cpu", "cuda")
"""Where whole images are handed to the graph: what other programs run ONNX files on. The others take the predictor's
size only, since they compile a graph for it."""
OPTIONAL = ("openvino", "tensorrt")
"""Providers that compile the graph their own way: one that does not compute it rightly is left out, and the bundle is
none the worse for the others."""


@dataclass(frozen=True)
class Truth:
    """What an exported model must reproduce: the torch model's answers to the labelled validation images.

    `files` [N]; `logits` task -> [N, C] before the temperature; `labels` task -> [N]; `classes` in their order.
    """

    files: list[Path]
    logits: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    classes: dict[str, list[str]]
    preprocess: Preprocess
    temperature: dict[str, float]

    @property
    def names(self) -> list[str]:
        """Of the images, as a refusal calls them."""
        return [str(path) for path in self.files]


def truth(name: str, model: Mapping, temperature: dict[str, float], data: Prepared) -> Truth:
    """What `train` wrote of the seed that is shipped. Raises DataError when its labels are not the manifest's, by
    name: its logits then mean other classes, or other images."""
    rows = data.target.rows("val", labelled=True)
    answers = tensorfile.load(paths.MODELS / name / "predictions.safetensors")
    seed = model["seeds"].index(model["best_seed"])
    classes: dict[str, list[str]] = {task: list(names) for task, names in model["classes"].items()}
    labels = {task: answers[f"val/{task}/labels"] for task in classes}
    for task, names in classes.items():
        known = np.array(data.label_space.classes[task])[data.target.labels[task][rows]]
        if not np.array_equal(np.array(names)[labels[task]], known):
            raise DataError(
                f"{name} was validated with other labels of {task!r} than {paths.PREPARED} has: train again"
            )
    return Truth(
        files=[Path(data.target.paths[row]) for row in rows],
        logits={task: answers[f"val/{task}/logits"][seed] for task in classes},
        labels=labels,
        classes=classes,
        preprocess=Preprocess.from_dict(model["preprocess"]),
        temperature=temperature,
    )


def answers(file: Path, route: Route, true: Truth) -> dict[str, np.ndarray]:
    """What a file answers to the validation images, from their own bytes, as the predictor does: task -> logits [N, C]
    on the network's own scale, so that a tolerance means the same at every temperature.

    A graph that was exported with a fixed batch size would still answer full batches, so the first images are asked
    for alone and in an odd number too, and of the answers to an image the one that is farthest from the truth counts.
    Raises ParityError when there is none, or the classes have other names.
    """
    predictor = Predictor.load(file, provider=route.provider, precision=route.precision, cache=False)
    parity.check_names(true.classes, predictor.classes)
    found = _asked(predictor, true, len(true.files))
    for count in (1, 3):
        for task, few in _asked(predictor, true, count).items():
            own, expected = found[task][:count], true.logits[task][:count]
            farther = ~(np.abs(few - expected) <= np.abs(own - expected))  # so that NaN counts too
            own[farther] = few[farther]
    return found


def _asked(predictor: Predictor, true: Truth, count: int) -> dict[str, np.ndarray]:
    """The answers to the first images, in batches of as many as there are, but for memory's sake."""
    files = true.files[:count]
    try:
        return _scaled(predictor.logits(files, batch_size=min(count, BATCH)), true)
    except GraftError:
        raise
    except Exception as error:  # each runtime has exceptions of its own
        raise ParityError(f"it cannot answer {len(files)} images at once: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _scaled(logits: Mapping[str, np.ndarray], true: Truth) -> dict[str, np.ndarray]:
    return {task: values * np.float32(true.temperature[task]) for task, values in logits.items()}


def prove(file: Path, provider: str, found: Mapping[str, np.ndarray], true: Truth, limits: ExportParams) -> dict:
    """A full-precision file on a provider, and its `answers` there -> the facts for the bundle, those of further tasks
    under `other_tasks`. Raises ParityError when it is refused; it says by how much and on which images."""
    proofs = {task: parity.check(true.logits[task], logits, true.names, limits) for task, logits in found.items()}
    facts = by_task(proofs)
    predictor = Predictor.load(file, provider=provider, precision=PARENT, cache=False)
    answered = predictor.run(np.stack([predictor.pixels(path) for path in true.files[:BATCH]]))
    for task in true.classes:
        logits, chances = (answered[predictor.output(kind, task)] for kind in ("logits", "probabilities"))
        parity.check_probabilities(logits, chances, true.names[:BATCH], limits)
    if provider in RAW_PROVIDERS:
        facts["preprocessing"], facts["raw"] = whole_images(file, predictor, true, limits)
    return facts


def by_task(proofs: dict[str, dict]) -> dict:
    """task -> facts -> the facts of the first task, those of the others beneath them."""
    first = proofs.pop(TASK)
    return {**first, "other_tasks": proofs} if proofs else first


def whole_images(file: Path, predictor: Predictor, true: Truth, limits: ExportParams) -> tuple[dict, dict]:
    """The graph given whole decoded images, as another program would: its pixels, then its answers, beside those to
    the same pixels resized as in training."""
    part = open_session(preprocessing.part(file), predictor.provider)
    whole = open_session(file, predictor.provider)
    side, files = true.preprocess.resize, true.files

    def normalised(pixels: np.ndarray) -> np.ndarray:
        return part.run({"image": pixels})[onnx_export.INPUT]

    proof = preprocessing.check(
        normalised, predictor.pixels, preprocessing.probes(files, side), true.preprocess, limits
    )
    outputs = {task: predictor.output("logits", task) for task in true.classes}
    wanted = list(outputs.values())
    native: list[dict[str, np.ndarray]] = []
    raw: list[dict[str, np.ndarray]] = []
    names = []
    for probe in preprocessing.probes(files, side):  # made again: all of them at once would fill the memory
        names.append(probe.name)
        pixels = np.asarray(images.decode(probe.content))
        raw.append(whole.run({"image": pixels[None]}, wanted))
        native.append(predictor.run(predictor.pixels(pixels)[None], wanted))
    facts = {}
    for task, output in outputs.items():
        both = (np.concatenate([answer[output] for answer in answered]) for answered in (native, raw))
        own_scale = (logits * np.float32(true.temperature[task]) for logits in both)
        facts[task] = parity.check_raw(*own_scale, names, limits)
    return proof, by_task(facts)

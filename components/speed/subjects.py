"""What the benchmark measures in a workspace: its test images, its bundle's routes, and its trained model in torch.

Torch is imported for the references alone, so that `graft benchmark` measures a bundle where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from components import jsonfile, paths, tensorfile
from components.data.prepared import Prepared
from components.deployment import bundle
from components.inference.predictor import Predictor
from components.runtimes.providers import present, resolve
from components.speed import measurement
from components.speed.measurement import Material, Plan, Way
from components.types import TASK

IMAGES = 64
"""Image files that are read for the measurement from files."""


def material(data: Prepared) -> Material:
    """The labelled test images, as the pixels that were prepared and as the files they came from."""
    rows = data.target.rows("test", labelled=True)
    names = data.label_space.classes[TASK]
    return Material(
        arrays=data.target.pixels[rows],
        files=[Path(data.target.paths[row]).read_bytes() for row in rows[:IMAGES]],
        labels=[names[label] for label in data.target.labels[TASK][rows]],
    )


def measured(
    folder: Path,
    images: Material,
    plan: Plan,
    *,
    providers: Sequence[str] = ("auto",),
    trained: Path | None = None,
    torch_compile: bool = False,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The admitted routes of the bundle in `folder` on `providers` ("auto": all that this machine has), and the model
    in `trained` by torch. Raises DataError when nothing was admitted there, MachineError when it does not load."""
    facts = bundle.read(folder)
    asked = present() if tuple(providers) == ("auto",) else list(dict.fromkeys(map(resolve, providers)))
    routes = measurement.admitted(facts, asked)
    devices = sorted({"cuda" if route.provider in ("cuda", "tensorrt") else "cpu" for route in routes})

    def references(predictor: Predictor) -> list[Way]:
        if trained is None:
            return []
        return [
            way
            for device in devices
            for way in _torch(trained, device, plan.threads, predictor, images.arrays[:1] if torch_compile else None)
        ]

    found = measurement.benchmark(folder, routes, images, plan, references=references, say=say)
    if trained is not None:
        found["versions"]["torch"] = metadata.version("torch")
    return {"strategy": facts["strategy"], "bundle": bundle.identity(facts), **found}


def _torch(trained: Path, device: str, threads: int, predictor: Predictor, example: np.ndarray | None) -> Sequence[Way]:
    """The trained model as it is, and compiled where there is an `example` to compile it with."""
    import torch

    from components.speed import references
    from components.training.restore import restore

    torch.set_num_threads(threads)
    answers = {"torch eager": references.eager(restore(trained), torch.device(device))}
    if example is not None:
        answers["torch.compile"] = references.compiled(restore(trained), torch.device(device), np.array(example))
    return [
        Way(
            name, "fp32", device, answer,
            lambda files, answer=answer: answer(np.stack([predictor.pixels(content) for content in files])),
        )
        for name, answer in answers.items()
    ]  # fmt: skip


def trained_accuracy(strategy: str, data: Prepared) -> float:
    """Of the trained model on the labelled test images, as it answered when it was trained."""
    folder = paths.MODELS / strategy
    model = jsonfile.read(folder / "model.json")
    logits = tensorfile.load(folder / "predictions.safetensors")[f"test/{TASK}/logits"]
    labels = data.target.labels[TASK][data.target.rows("test", labelled=True)]
    return float((logits[model["seeds"].index(model["best_seed"])].argmax(1) == labels).mean())

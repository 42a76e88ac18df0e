"""Few-shot prediction: classes given by a few images each, answered without training.

A few-shot strategy's bundle holds a second file whose classes are inputs: the features [n, D] of the support images
and the class of each [n]. Both files hold the same network, so the features come from the first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.errors import DataError
from components.inference import selection
from components.inference.model import Model
from components.runtimes.routes import PARENT, Route
from components.types import TASK

if TYPE_CHECKING:
    from components.inference.predictor import Predictor, Source

KEY = "support"
"""Of that file in bundle.json's `models`."""


def with_support(predictor: Predictor, support: Mapping[str, Iterable[Source]]) -> Predictor:
    """A predictor that answers among the classes of `support`, {class name: images}, in fp32 on the same provider.

    It never abstains: the bundle's threshold was found on other classes. Raises DataError for a bundle without such a
    file, for fewer than two classes, a class without images, or an image that cannot be used.
    """
    file = _file(predictor)
    examples = {name: list(images) for name, images in support.items()}
    if len(examples) < 2:
        raise DataError(f"a choice needs at least two classes, but the support has {len(examples)}")
    empty = [name for name, images in examples.items() if not images]
    if empty:
        raise DataError(f"the support has no image of class {empty[0]!r}")
    exact = predictor
    if predictor.precision != PARENT:
        exact = predictor.load(
            predictor.bundle, provider=predictor.provider, precision=PARENT, max_pixels=predictor.max_pixels
        )
    features = exact.features(image for images in examples.values() for image in images)
    found = copy.copy(predictor)
    route = Route(PARENT, predictor.provider)
    # A GPU's session for one size wants every node on the GPU, but those that sort the support have no kernel there.
    native = predictor.preprocess.resize if predictor.provider in ("cpu", "openvino") else None
    found.model = Model(selection.Selection(file, route, predictor.model.selection.options), native)
    found.classes = {TASK: list(examples)}
    found.abstain_below = 0.0
    found.constants = {
        "support_features": features,
        "support_label": np.repeat(np.arange(len(examples)), [len(images) for images in examples.values()]),
    }
    return found


def _file(predictor: Predictor) -> Path:
    if not predictor.bundle.is_dir():
        raise DataError(
            f"{predictor.bundle} is one file of a bundle, but for other classes there is another: give the folder"
        )
    facts = selection.read(predictor.bundle)
    if KEY not in facts["models"]:
        raise DataError(
            f"{predictor.bundle} cannot take other classes: only the bundle of a few-shot strategy holds the file "
            f"{KEY!r} for it ({', '.join(_few_shot())}), and this is {predictor.facts.get('strategy', 'another')}"
        )
    return selection.verified(predictor.bundle, facts, KEY)


def _few_shot() -> list[str]:
    from components.strategies.catalogue import STRATEGIES

    return [name for name, entry in STRATEGIES.items() if entry.family == "few and one shot"]

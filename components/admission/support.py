"""The second file of a few-shot strategy, whose labelled images are an input: proven with those it was trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from components.admission import parity
from components.admission.preprocessing import spread
from components.admission.proof import BATCH, Truth
from components.data.prepared import Domain, Prepared
from components.deployment.support_export import LABEL, SUPPORT
from components.errors import ParityError
from components.inference.predictor import Predictor
from components.params import ExportParams
from components.runtimes.routes import PARENT
from components.runtimes.session import open_session
from components.strategies.few_shot import FewShot


def remembered(strategy: FewShot, target: Domain) -> np.ndarray:
    """Rows of the training images [n] that the strategy's own answers compare with: all labelled ones, or what its
    memory has room for."""
    rows = target.rows("train", labelled=True)
    memory = getattr(strategy, "memory", None)
    if memory is None:
        return rows
    labels, room = target.labels[strategy.task][rows], memory.taken.shape[1]
    classes = [rows[labels == label] for label in np.unique(labels)]
    return np.concatenate([own[spread(len(own), room)] for own in classes])  # as `SupportMemory.fill` chooses


def prove(
    file: Path, exported: Path, strategy: FewShot, true: Truth, data: Prepared, limits: ExportParams, provider: str
) -> dict:
    """`file`: with the support as an input; `exported`: the full-precision file, whose own prototypes or memory it must
    answer like, given the images that these were made from -> the facts, for the bundle. Raises ParityError."""
    rows = remembered(strategy, data.target)
    predictor = Predictor.load(exported, provider=provider, precision=PARENT, cache=False)
    support = {
        SUPPORT: predictor.features(Path(data.target.paths[row]) for row in rows),
        LABEL: data.target.labels[strategy.task][rows],
    }
    session = open_session(file, provider, native=predictor.preprocess.resize)
    found = []
    for start in range(0, len(true.files), BATCH):
        images = np.stack([predictor.pixels(path) for path in true.files[start : start + BATCH]])
        found.append(session.run({"image": images, **support}, ["logits"])["logits"])
    logits = np.concatenate(found) * np.float32(true.temperature[strategy.task])
    try:
        return parity.check(true.logits[strategy.task], logits, true.names, limits)
    except ParityError as error:
        raise ParityError(f"given the support of its training on {provider}: {error}") from None

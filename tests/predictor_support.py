"""What the predictor's tests share."""

from __future__ import annotations

import math
from pathlib import Path

from components.inference.predictor import Prediction, Predictor
from components.runtimes.options import Options

ONE = Options(threads=1)
SURE = math.exp(4) / (math.exp(4) + 2)
"""Probability of "red" for a red image: its logits are 4, 0 and 0."""


def load(folder: Path, **how) -> Predictor:
    return Predictor.load(folder, **{"provider": "cpu", "options": ONE, **how})


def answer(predictor: Predictor, source) -> Prediction:
    (found,) = predictor.predict([source])
    assert isinstance(found, Prediction)
    return found

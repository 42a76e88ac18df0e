"""Confidence that means what it says: a model's logits divided by one number.

Temperature scaling, Guo et al., 2017, arXiv:1706.04599, sec. 4.2. It changes no decision, so it costs no accuracy;
being a single number, it can be fitted on few images and put inside the exported model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from components.evaluation.metrics import log_loss, log_softmax
from components.evaluation.predictions import Entry

REACH = 1e4
"""How far the temperature may be from the typical spread of the logits, either way."""
PRECISION = 1e-7
STEPS = 200


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 for which logits / T have the least log loss; logits [N, C], labels [N].

    The loss is convex in 1 / T, so its slope is zero at one place at most, and that place lies between bounds relative
    to the spread of the logits, whatever their scale. Newton's method finds it; where a step would leave the bounds,
    they are halved instead. With no images, or all logits the same, it is 1, and so it is where 1 is no worse.

    Where every image is right the loss has no minimum: ever smaller T, ever surer answers. Then one image's worth of
    label is spread over all classes, as in Platt, 1999, so that N right answers give a confidence of about 1 - 1 / N.
    """
    values = logits.astype(np.float64)
    if len(values) == 0:
        return 1.0
    own = values[np.arange(len(labels)), labels]
    spread = float((values.max(1) - values.mean(1)).mean())
    if spread == 0:
        return 1.0
    all_right = bool((own == values.max(1)).all())
    if all_right:
        own = own + (values.mean(1) - own) / len(values)
    found = 1 / _root(values, own, spread)
    if all_right or log_loss(values / found, labels) < log_loss(values, labels):
        return found
    return 1.0


def _root(values: np.ndarray, wanted: np.ndarray, spread: float) -> float:
    """1 / T at which the expected logit [N] is the wanted one in the mean; the nearest bound where there is none."""
    low, high = 1 / (REACH * spread), REACH / spread
    inverse = 1 / spread
    for _ in range(STEPS):
        chances = np.exp(log_softmax(values * inverse))
        expected = (chances * values).sum(1)
        slope = float((expected - wanted).mean())  # of the loss, in 1 / T; it never falls
        curvature = float(((chances * values**2).sum(1) - expected**2).mean())
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else np.inf
        following = step if low < step < high else (low * high) ** 0.5
        if abs(following / inverse - 1) < PRECISION:
            return following
        inverse = following
    return inverse


class Fitted(NamedTuple):
    """Temperatures of one task: `values` [S], one for each seed, fitted on so many validation images."""

    values: list[float]
    images: int


def fit(entry: Entry) -> dict[str, Fitted]:
    """task -> temperatures, from the validation labels, for every strategy alike.

    One that trains without target labels could only be calibrated on the source instead, and confidence fitted in one
    domain means little in another (Ovadia et al., 2019, arXiv:1906.02530): tried, it was worse than none. Validation
    labels rank such strategies too; what they never touch is a decision.
    """
    return {
        task: Fitted(
            [temperature(own, answers["val"].labels) for own in answers["val"].logits], len(answers["val"].labels)
        )
        for task, answers in entry.tasks.items()
    }

"""Whether an exported model answers like the model it was made from. One that does not is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.errors import ParityError
from components.evaluation.metrics import probabilities
from components.params import ExportParams

SHOWN = 5  # offending images that an error names


def check(expected: np.ndarray, found: np.ndarray, images: Sequence[str], limits: ExportParams) -> dict:
    """expected and found: logits [N, C] of the same images -> the facts of the comparison, for the bundle.

    Raises ParityError when logits differ by more than `logit_tolerance`, when decisions agree on less than
    `min_agreement` of the images, or when a decision differs that was no near-tie; it says by how much and where.
    """
    difference = np.abs(expected - found).max(1)
    changed = np.flatnonzero(expected.argmax(1) != found.argmax(1))
    agreement = 1 - len(changed) / len(images)
    top = np.sort(probabilities(expected), axis=1)
    margin = top[:, -1] - top[:, -2]
    facts = {
        "images": len(images),
        "agreement": agreement,
        "max_logit_difference": float(difference.max()),
        "near_ties": [images[index] for index in changed],
    }
    worst = difference.argmax()
    if not difference[worst] <= limits.logit_tolerance:  # written so that NaN is refused too
        over = np.flatnonzero(~(difference <= limits.logit_tolerance))
        raise ParityError(
            f"logits differ by up to {difference[worst]:.3g} (export.logit_tolerance is {limits.logit_tolerance:g}) on "
            f"{len(over)} of {len(images)} images, most on {images[worst]}"
        )
    clear = [index for index in changed if margin[index] > limits.near_tie]
    if clear:
        names = ", ".join(images[index] for index in clear[:SHOWN])
        raise ParityError(f"{len(clear)} decisions differ that were no near-tie, among them {names}")
    if agreement < limits.min_agreement:
        names = ", ".join(images[index] for index in changed[:SHOWN])
        raise ParityError(
            f"decisions agree on {agreement:.4%} of {len(images)} images, but export.min_agreement asks for "
            f"{limits.min_agreement:.4%}; they differ on {names}"
        )
    return facts

"""Whether an exported model answers like the model it was made from. One that does not is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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
    clear = changed[margin[changed] > limits.near_tie]
    if len(clear):
        raise ParityError(f"{len(clear)} decisions differ that were no near-tie, among them {_names(clear, images)}")
    if agreement < limits.min_agreement:
        raise ParityError(
            f"decisions agree on {agreement:.4%} of {len(images)} images, but export.min_agreement asks for "
            f"{limits.min_agreement:.4%}; they differ on {_names(changed, images)}"
        )
    return facts


def check_raw(native: np.ndarray, raw: np.ndarray, images: Sequence[str], limits: ExportParams) -> dict:
    """Logits [N, C] for images that were resized as training did, and for the same ones handed to the graph whole ->
    the facts, for the bundle.

    The graph resizes in floating point and training in fixed, so a pixel may be a grey level off, and the logits with
    it: no tolerance of logits can be stated for every network. What the pixels explain is measured instead: the largest
    difference on the images whose decision stays. A decision may change only where the two best logits lie closer
    together than twice that, since one may fall and the other rise by as much, and on no more images than
    `min_precision_agreement` allows, or one. Raises ParityError otherwise, and for what is no number.
    """
    difference = np.abs(native - raw).max(1)
    wrong = np.flatnonzero(~np.isfinite(difference))
    if len(wrong):
        raise ParityError(
            f"whole images: logits of {len(wrong)} of {len(images)} are no numbers, such as {_names(wrong, images)}"
        )
    stays = native.argmax(1) == raw.argmax(1)
    changed = np.flatnonzero(~stays)
    top = np.sort(native, axis=1)
    margin = top[:, -1] - top[:, -2]
    explained = 2 * max(float(difference[stays].max(initial=0.0)), limits.logit_tolerance)
    clear = changed[margin[changed] > explained]
    if len(clear):
        raise ParityError(
            f"whole images: {len(clear)} of {len(images)} decisions differ by more than the pixels explain "
            f"({explained:.3g} between the two best logits), among them {_names(clear, images)}"
        )
    allowed = max(1, math.floor((1 - limits.min_precision_agreement) * len(images)))
    if len(changed) > allowed:
        raise ParityError(
            f"whole images: {len(changed)} of {len(images)} decisions differ, but export.min_precision_agreement "
            f"allows {allowed}; among them {_names(changed, images)}"
        )
    return {
        "images": len(images),
        "agreement": 1 - len(changed) / len(images),
        "max_logit_difference": float(difference.max()),
        "near_ties": [images[index] for index in changed],
    }


def check_probabilities(logits: np.ndarray, found: np.ndarray, images: Sequence[str], limits: ExportParams) -> None:
    """The file's own logits [N, C], divided by the temperature, and its probabilities [N, C]. Raises ParityError where
    these are not their softmax, as when one of the two was left without the temperature."""
    difference = np.abs(probabilities(logits) - found).max(1)
    wrong = np.flatnonzero(~(difference <= limits.logit_tolerance))
    if len(wrong):
        raise ParityError(
            f"probabilities are not the softmax of the logits on {len(wrong)} of {len(images)} images, by up to "
            f"{difference.max():.3g}, among them {_names(wrong, images)}"
        )


def check_names(expected: Mapping[str, Sequence[str]], found: Mapping[str, Sequence[str]]) -> None:
    """Class names by task, in the order of the logits. Raises ParityError where the file has others than the model:
    its right answers would be called by wrong names."""
    if list(expected) != list(found):
        raise ParityError(f"the file answers the tasks {list(found)}, but the model {list(expected)}")
    for task, names in expected.items():
        if len(names) != len(found[task]):
            raise ParityError(f"task {task!r}: the file names {len(found[task])} classes, the model has {len(names)}")
        wrong = [place for place, pair in enumerate(zip(names, found[task], strict=True)) if pair[0] != pair[1]]
        if wrong:
            shown = ", ".join(f"{found[task][place]!r} for {names[place]!r}" for place in wrong[:SHOWN])
            raise ParityError(f"task {task!r}: {len(wrong)} class names stand in another order, {shown}")


def _names(rows: np.ndarray, images: Sequence[str]) -> str:
    return ", ".join(images[row] for row in rows[:SHOWN])

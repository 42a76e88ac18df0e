"""Parts of the test images looked at separately: a good mean can hide a group that the model fails.

A slice is a value of a column: one of the manifest's (another task's label, or what was known of the images), the size
of the image as it was before it was scaled, or the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from components.errors import ParamsError, choices
from components.evaluation.intervals import wilson
from components.types import TASK

SIZE, DOMAIN = "size", "domain"
NONE = "(none)"
"""The slice of the images of which a column says nothing."""
TEXTS, NUMBERS = 20, 8
"""A column of more different texts tells images apart rather than group them; one of more numbers is cut in three."""
LEAST = 20
"""Images that a slice needs to be called the worst: the accuracy on fewer says too little."""

Groups = dict[str, np.ndarray]
"""Name of a slice -> [N] bool, the images in it."""


def choose(columns: Mapping[str, Sequence[str]], asked: Sequence[str] | None) -> dict[str, Groups]:
    """column -> slices, of the manifest's columns [N each] of some images.

    `asked`: which ones (`evaluate.slices`); None: all that have several values, but not so many that each is one
    image's. Width and height are one column, `size` (`image size` where the manifest has a `size` of its own); the
    classes are not sliced by, having figures of their own. Raises ParamsError for a column that is not there.
    """
    known = {name: list(values) for name, values in columns.items() if name not in ("width", "height", TASK)}
    size = SIZE if SIZE not in known else f"image {SIZE}"
    if "width" in columns and "height" in columns:
        known[size] = [f"{w} x {h}" for w, h in zip(columns["width"], columns["height"], strict=True)]
    names = [*known, DOMAIN]
    for name in asked or ():
        if name not in names:
            raise ParamsError(f"evaluate.slices: the manifest has no column {name!r}; {choices(name, names)}")
    found = {}
    for name, values in known.items():
        if asked is not None and name not in asked:
            continue
        most = None if asked is not None else TEXTS
        groups = _sizes(values) if name == size else _values(values, most)
        if asked is not None or 1 < len(groups) <= TEXTS:
            found[name] = groups
    return found


def measure(groups: Mapping[str, Groups], right: np.ndarray, confidence: float) -> list[dict]:
    """Each slice's accuracy with its interval, from which images [N] were answered rightly."""
    return [
        {"column": column, "value": value, **_accuracy(right[mask], confidence)}
        for column, slices in groups.items()
        for value, mask in slices.items()
    ]


def domains(target: np.ndarray, source: np.ndarray, confidence: float) -> list[dict]:
    """The test images [N] beside the held-out images of the source [M], each right or not."""
    return [
        {"column": DOMAIN, "value": name, **_accuracy(right, confidence)}
        for name, right in (("target", target), ("source", source))
    ]


def worst(found: Sequence[dict]) -> dict | None:
    """The slice of the target with the lowest accuracy, among those with enough images."""
    candidates = [entry for entry in found if entry["column"] != DOMAIN and entry["images"] >= LEAST]
    return min(candidates, key=lambda entry: (entry["accuracy"], -entry["images"]), default=None)


def _accuracy(right: np.ndarray, confidence: float) -> dict:
    interval = wilson(int(right.sum()), len(right), confidence=confidence)
    return {"images": len(right), "accuracy": interval.value, "low": interval.low, "high": interval.high}


def _values(texts: Sequence[str], most: int | None) -> Groups:
    """Each text, or three ranges where they are many numbers. An empty field is in the slice NONE. No slices where
    there are more texts than `most`: the masks would take as much memory as the square of the images."""
    distinct = sorted(set(texts) - {""})
    numbers = _numbers(distinct)
    if numbers is not None:
        distinct = [distinct[index] for index in np.argsort(numbers, kind="stable")]
        if len(distinct) > NUMBERS:
            return _ranges(np.array([float(text) if text else np.nan for text in texts]), _shortest)
    if most is not None and len(distinct) > most:
        return {}
    groups = {text: np.array([other == text for other in texts]) for text in distinct}
    return _with_none(groups, np.array([text == "" for text in texts]))


def _sizes(texts: Sequence[str]) -> Groups:
    """Each width and height, or three ranges of the number of pixels where there are many."""
    pixels = np.array([np.prod([int(side) for side in text.split(" x ")]) for text in texts], dtype=np.float64)
    distinct = [text for _, text in sorted(set(zip(pixels.tolist(), texts, strict=True)))]
    if len(distinct) > NUMBERS:
        return _ranges(pixels, "{:,.0f}".format, unit=" pixels")
    return {text: np.array([other == text for other in texts]) for text in distinct}


def _ranges(values: np.ndarray, written: Callable[[float], str], unit: str = "") -> Groups:
    """Three ranges with about as many of the values [N] each; nan is in the slice NONE."""
    known = values[np.isfinite(values)]
    cuts = np.unique(np.quantile(known, [1 / 3, 2 / 3], method="lower"))
    part = np.where(np.isfinite(values), np.searchsorted(cuts, values), -1)
    groups = {}
    for index in np.unique(part[part >= 0]):
        own = values[part == index]
        groups[f"{written(own.min())} to {written(own.max())}{unit}"] = part == index
    return _with_none(groups, part < 0)


def _with_none(groups: Groups, empty: np.ndarray) -> Groups:
    if NONE in groups:  # some were said to have none
        empty = groups[NONE] | empty
    return {**groups, NONE: empty} if empty.any() else groups


def _shortest(number: float) -> str:
    """With all its digits, or two ranges of large numbers that differ in the last ones had one name: 20230101, 0.5."""
    return repr(float(number)).removesuffix(".0")


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    """The texts as finite numbers, None where one is not."""
    try:
        numbers = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None

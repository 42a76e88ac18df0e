"""What a set of learning curves says: numbers for a machine, and the answers in sentences for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from components.errors import GraftError
from components.evaluation.intervals import Interval
from components.evaluation.learning_curve import FORESEEN, LEAST_TO_FIT, LearningCurve, Needed, band, monotone
from components.params import EvaluateParams

MORE = 10
"""Labels per class that the question "what would more bring?" is asked about."""
DRAWN = 13
"""Places at which the fitted law is given, for drawing: so many where it was measured, and as many up to twice that."""


def summary(
    points: Mapping[str, Sequence[Mapping]],
    *,
    families: Mapping[str, str],
    params: EvaluateParams,
    seed: int,
    seeds: Sequence[int],
    labels: Sequence[int],
    now: int,
    goal: float | None,
) -> dict[str, Any]:
    """The content of curve.json.

    `points`: for each strategy its trainings, each with "labels" (None for one that uses none), "seed" and "failed",
    and, where that is None, "val" (accuracy), "images" and "wrong" (test images answered wrongly); `now`: labels per
    class that the pipeline's strategies see. A number of labels counts only where no seed failed: the survivors alone
    would look too good.
    """
    rows, curves = [], {}
    for name, own in points.items():
        groups = [list(group) for _, group in groupby(sorted(own, key=_place), key=_place)]
        whole = [group for group in groups if not any(point["failed"] for point in group)]
        rows.append(
            {
                "strategy": name,
                "family": families[name],
                "uses_labels": own[0]["labels"] is not None,
                "points": [_point(group, params.confidence) for group in whole],
                "failed": [
                    {"labels": point["labels"], "seed": point["seed"], "reason": point["failed"]}
                    for point in sorted(own, key=_place)
                    if point["failed"]
                ],
            }
        )
        if whole and rows[-1]["uses_labels"]:
            counts = tuple(group[0]["labels"] for group in whole)
            correct = np.stack([_correct(group) for group in whole])
            curves[name] = LearningCurve(
                counts, correct, confidence=params.confidence, resamples=params.resamples, seed=seed
            )
    chosen, why = (goal, "given") if goal is not None else _goal(rows, curves, now)
    for row in rows:
        row |= _answers(row, curves.get(row["strategy"]), chosen, now)
    images = next(point["images"] for own in points.values() for point in own if not point["failed"])
    return {
        "labels": list(labels),
        "seeds": list(seeds),
        "confidence": params.confidence,
        "images": {"test": images},
        "now": now,
        "goal": chosen,
        "goal_is": why,
        "band": _band_means(params.confidence, len(seeds), images),
        "strategies": rows,
    }


def _place(point: Mapping) -> int:
    return point["labels"] or 0


def _correct(group: Sequence[Mapping]) -> np.ndarray:
    """[S, N]: was a seed right on a test image."""
    correct = np.ones((len(group), group[0]["images"]), dtype=bool)
    for answers, point in zip(correct, group, strict=True):
        answers[point["wrong"]] = False
    return correct


def _point(group: Sequence[Mapping], confidence: float) -> dict[str, Any]:
    correct = _correct(group)
    value, low, high = band(correct, confidence)
    return {
        "labels": group[0]["labels"],
        "accuracy": value,
        "low": low,
        "high": high,
        "val": float(np.mean([point["val"] for point in group])),
        "per_seed": [
            {"seed": point["seed"], "accuracy": float(answers.mean()), "val": point["val"]}
            for point, answers in zip(group, correct, strict=True)
        ],
    }


def _goal(rows: Sequence[Mapping], curves: Mapping[str, LearningCurve], now: int) -> tuple[float, str]:
    """Half of the errors that the best of the strategies makes with as many labels as there are now (or with the
    measured number nearest to it). Raises GraftError where nothing was measured whole."""
    found = {row["strategy"]: row["points"][0]["accuracy"] for row in rows if row["points"] and not row["uses_labels"]}
    at = now
    for name, curve in curves.items():
        at = float(np.clip(now, curve.labels[0], curve.labels[-1]))
        found[name] = float(np.interp(np.log(at), np.log(curve.labels), monotone(curve.accuracy)))
    if not found:
        failures = [(row["strategy"], failure) for row in rows for failure in row["failed"]]
        name, failure = failures[0]
        raise GraftError(
            "no strategy was trained with every seed for any number of labels, so there is no curve; the first that "
            f"failed: {name} with {_many(failure['labels'])}, seed {failure['seed']}: {failure['reason']}"
        )
    best = max(found, key=lambda name: found[name])
    goal = min(round((1 + found[best]) / 2, 3), 0.999)
    return goal, f"half the errors of {best} at {_many(round(at))}"


def _answers(row: Mapping, curve: LearningCurve | None, goal: float, now: int) -> dict[str, Any]:
    """What the curve says, in numbers and in words."""
    name = row["strategy"]
    fit = needed = gain = None
    if curve is None:
        words = [f"{name} failed with every number of labels."]
        if row["points"]:
            point = row["points"][0]
            words = [
                f"{name} uses no target label: {point['accuracy']:.1%} ({point['low']:.1%} to {point['high']:.1%}) "
                "however many there are."
            ]
    else:
        needed, gain = curve.labels_needed(goal), curve.gain(now, MORE)
        if curve.law is not None:
            first, last = curve.labels[0], curve.labels[-1]
            places = [*np.geomspace(first, last, DRAWN), *np.geomspace(last, 2 * last, DRAWN + 1)[1:]]
            fit = {
                **{key: float(value) for key, value in curve.law._asdict().items()},
                "predicted": [_bounds(curve.predicted(place), labels=float(place)) for place in places],
            }
        words = [_needed_words(name, needed, curve, goal, now)]
        if gain is not None:
            beyond = " (extrapolated)" if now + MORE > curve.labels[-1] else ""
            words.append(f"Going from {now} to {_many(now + MORE)} brings {_points(gain)}{beyond}.")
    for count, failures in groupby(row["failed"], key=lambda failure: failure["labels"]):
        first, *others = failures
        seeds = f"seed {first['seed']}" + (f" and {len(others)} more" if others else "")
        words.append(f"With {_many(count)}, {name} failed ({seeds}): {first['reason'].rstrip('.')}.")
    return {
        "fit": fit,
        "needed": needed and _finite(needed),
        "gain": gain and {"from": now, "more": MORE, **_bounds(gain, key="difference")},
        "sentence": " ".join(words),
    }


def _needed_words(name: str, needed: Needed, curve: LearningCurve, goal: float, now: int) -> str:
    first, last = (int(value) for value in (curve.labels[0], curve.labels[-1]))
    if needed.how == "measured":
        return f"{name} reaches {_share(goal)} with {_many(first)} already, the fewest measured."
    if needed.how == "not foreseeable":
        if curve.law is None:
            return (
                f"{name} does not reach {_share(goal)} with {_many(last)}, and from fewer than {LEAST_TO_FIT} numbers "
                "of labels nothing can be foretold."
            )
        best = 1 - float(curve.law.a)
        why = (
            f"its curve levels off at about {best:.1%}"
            if best <= goal
            else f"it would take more than {FORESEEN * last} labels per class, {FORESEEN} times the most measured"
        )
        return f"{name}: {_share(goal)} is not foreseeable; {why}."
    highest = _count(needed.high) if np.isfinite(needed.high) else f"over {FORESEEN * last}"
    spread = f"{_count(needed.low)} to {highest}"
    more = _count(needed.labels) - now
    more_words = f", {more} more than now" if more > 0 else ""
    if needed.how == "interpolated":
        above = int(np.searchsorted(curve.labels, needed.labels - 1e-9))
        below, above = int(curve.labels[above - 1]), int(curve.labels[above])
        return (
            f"{name} reaches {_share(goal)} between {below} and {_many(above)}: with about {_count(needed.labels)} "
            f"({spread}){more_words}."
        )
    return (
        f"{name} needs about {_many(_count(needed.labels))} for {_share(goal)} ({spread}){more_words}; extrapolated, "
        f"as the most measured is {last}."
    )


def _count(labels: float) -> int:
    """Labels per class as a person reads them: whole, and no more than two digits that mean something."""
    whole = int(np.ceil(labels - 1e-9))
    return whole if whole < 100 else int(np.ceil(whole / 10 ** (len(str(whole)) - 2))) * 10 ** (len(str(whole)) - 2)


def _many(labels: int | None) -> str:
    return "any number of labels" if labels is None else f"{labels} label{'s' if labels != 1 else ''} per class"


def _share(goal: float) -> str:
    """0.95 -> "95%", and 0.9995 is not 100 %."""
    return f"{100 * goal:.4g}%"


def _points(gain: Interval) -> str:
    value, low, high = (f"{100 * share:+.1f}" for share in gain)
    return f"about {value} points ({low} to {high})"


def _bounds(interval: Interval, *, key: str = "accuracy", **more: float) -> dict[str, float]:
    return {**more, key: interval.value, "low": interval.low, "high": interval.high}


def _finite(needed: Needed) -> dict[str, Any]:
    """For JSON, which knows no infinity: null is one."""
    return {key: None if value == np.inf else value for key, value in needed._asdict().items()}


def _band_means(confidence: float, seeds: int, images: int) -> str:
    if seeds == 1:
        return (
            f"The band is a {confidence:.0%} interval over the {images} test images alone: there is one seed, so what "
            "other labelled images and other initial weights would change is not in it."
        )
    return (
        f"The band is a {confidence:.0%} interval for the mean over {seeds} seeds, each of which draws its own "
        f"labelled images and initial weights, and over the {images} test images."
    )

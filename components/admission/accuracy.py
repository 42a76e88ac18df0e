"""Whether a reduced precision answers well enough beside its parent. Logits in, a verdict with its numbers out.

A reduced precision may differ from its parent, which parity may not: so what is asked is whether it decides alike, is
right as often, and lets no class down. The point estimates decide about agreement and accuracy; a class has so few
images that only a loss which chance does not explain counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from components.evaluation.intervals import Interval, paired_interval, wilson
from components.evaluation.metrics import expected_calibration_error
from components.params import EvaluateParams, ExportParams

SHOWN = 3  # images that a reason names


@dataclass(frozen=True)
class Sample:
    """Images that parent and candidate both answered: their `labels` [N], their names, the class names in the order of
    the logits, and the temperature that the shipped probabilities are made with."""

    labels: np.ndarray
    images: Sequence[str]
    classes: Sequence[str]
    temperature: float


@dataclass(frozen=True)
class Rule:
    """What is asked of a candidate, and how sure the intervals are."""

    limits: ExportParams
    evaluate: EvaluateParams
    seed: int

    def paired(self, candidate: np.ndarray, parent: np.ndarray) -> Interval:
        """candidate [N] and parent [N], 1 where right -> the difference in accuracy.

        Where no answer differs, no resample does either, but few images still prove little: the bounds are then
        Wilson's, of a share that none of N showed.
        """
        confidence = self.evaluate.confidence
        if np.array_equal(candidate, parent):
            reach = wilson(0, len(parent), confidence=confidence).high
            return Interval(0.0, -reach, reach)
        options = {"confidence": confidence, "resamples": self.evaluate.resamples, "seed": self.seed}
        return paired_interval(candidate.astype(np.float64), parent.astype(np.float64), **options)


def unanswered(reason: str, images: int) -> dict:
    """The verdict on what gave no answers at all."""
    numbers = ("agreement", "accuracy", "parent_accuracy", "accuracy_difference", "worst_class", "max_logit_difference")
    return {"admitted": False, "reason": reason, "images": images, **dict.fromkeys((*numbers, "ece", "parent_ece"))}


def judge_tasks(
    parent: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray], samples: Mapping[str, Sample], rule: Rule
) -> dict:
    """`judge` for every task: the verdict on the first, with those on further ones under `other_tasks`. It is admitted
    when all of them are."""
    verdicts = {task: judge(parent[task], candidate[task], sample, rule) for task, sample in samples.items()}
    first, *others = verdicts
    verdict = verdicts[first]
    if not others:
        return verdict
    refused = [task for task in others if not verdicts[task]["admitted"]]
    if verdict["admitted"] and refused:
        verdict |= {"admitted": False, "reason": f"{refused[0]}: {verdicts[refused[0]]['reason']}"}
    return {**verdict, "other_tasks": {task: verdicts[task] for task in others}}


def judge(parent: np.ndarray, candidate: np.ndarray, sample: Sample, rule: Rule) -> dict:
    """parent and candidate: logits [N, C] before the temperature -> `admitted`, the `reason`, and the numbers.

    Refused are logits that are no numbers, an agreement below `min_precision_agreement`, an accuracy that is lower by
    more than `max_accuracy_loss`, and a class whose recall falls by more than `max_class_loss` with a paired interval
    that excludes zero. All reasons for a refusal are given, of the classes the worst.
    """
    limits, count = rule.limits, len(sample.labels)
    finite = np.isfinite(candidate.sum(axis=1))
    candidate = np.where(finite[:, None], candidate, 0.0)
    decided, own = candidate.argmax(1), parent.argmax(1)
    right, parent_right = (decided == sample.labels) & finite, own == sample.labels
    agreement = float(((decided == own) & finite).mean())
    difference = rule.paired(right, parent_right)
    worst, fallen = _classes(right, parent_right, sample, rule)
    ece = partial(expected_calibration_error, labels=sample.labels)
    verdict = {
        "images": count,
        "agreement": agreement,
        "accuracy": float(right.mean()),
        "parent_accuracy": float(parent_right.mean()),
        "accuracy_difference": difference._asdict(),
        "worst_class": worst,
        "max_logit_difference": float(np.abs(candidate - parent).max()) if finite.all() else None,
        "ece": ece(candidate / sample.temperature) if finite.all() else None,
        "parent_ece": ece(parent / sample.temperature),
    }
    reasons = []
    if not finite.all():
        wrong = np.flatnonzero(~finite)
        reasons.append(f"logits of {len(wrong)} of {count} images are no numbers ({_names(wrong, sample)})")
    if agreement < limits.min_precision_agreement:
        changed = np.flatnonzero((decided != own) | ~finite)
        reasons.append(
            f"{agreement:.2%} of {count} decisions agree, export.min_precision_agreement asks for "
            f"{limits.min_precision_agreement:.2%} ({_names(changed, sample)})"
        )
    if difference.value < -limits.max_accuracy_loss:
        reasons.append(
            f"accuracy {_points(difference)}, export.max_accuracy_loss allows {100 * limits.max_accuracy_loss:.3g}"
        )
    if fallen:
        first = min(fallen, key=lambda entry: entry["difference"])
        interval = Interval(first["difference"], first["low"], first["high"])
        more = f" and of {len(fallen) - 1} more classes" if len(fallen) > 1 else ""
        reasons.append(
            f"recall of {first['class_name']!r} {_points(interval)}{more}, export.max_class_loss allows "
            f"{100 * limits.max_class_loss:.3g}"
        )
    if reasons:
        return {"admitted": False, "reason": "; ".join(reasons), **verdict}
    reason = f"{agreement:.2%} of {count} decisions agree, accuracy {_points(difference)}"
    if difference.low < -limits.max_accuracy_loss:
        reason += f"; too few images to exclude a loss above {100 * limits.max_accuracy_loss:.3g}"
    return {"admitted": True, "reason": reason, **verdict}


def _classes(right: np.ndarray, parent_right: np.ndarray, sample: Sample, rule: Rule) -> tuple[dict, list[dict]]:
    """The class whose recall falls most, and all those that fall by more than is allowed and than chance explains."""
    found = {}
    for number in np.unique(sample.labels).tolist():
        own = sample.labels == number
        found[number] = float(right[own].mean() - parent_right[own].mean())

    def entry(number: int) -> dict:
        own = sample.labels == number
        interval = rule.paired(right[own], parent_right[own])
        bounds = {"low": interval.low, "high": interval.high}
        return {"class_name": sample.classes[number], "difference": found[number], **bounds}

    suspects = [entry(number) for number, value in found.items() if value < -rule.limits.max_class_loss]
    fallen = [suspect for suspect in suspects if suspect["high"] < 0]
    return entry(min(found, key=found.__getitem__)), fallen


def _points(interval: Interval) -> str:
    """ "-0.3 points (-0.8 to +0.1)" """
    value, low, high = (100 * part + 0.0 for part in interval)
    return f"{value:+.2f} points ({low:+.2f} to {high:+.2f})"


def _names(rows: np.ndarray, sample: Sample) -> str:
    shown = ", ".join(sample.images[row] for row in rows[:SHOWN])
    return f"{shown}, …" if len(rows) > SHOWN else shown

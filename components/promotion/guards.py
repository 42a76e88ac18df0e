"""What a challenger must not lose, whatever it is better at: each a check with its number, its limit and a sentence.

A class, a slice and the calibration fail only where the loss is larger than its limit *and* more than chance: of so few
images the one without the other is common among equals.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from components.evaluation.intervals import Interval

if TYPE_CHECKING:
    from components.params import PromoteParams
    from components.promotion.evidence import Difference, Evidence

T = TypeVar("T")
SHOWN = 3
"""Classes that a sentence names."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `value`: the number that is held against `limit`, None where there is none;
    `sentence`: both, in words; `decides`: whether the decision rests on it."""

    name: str
    passed: bool
    value: float | None
    limit: float | None
    sentence: str
    decides: bool = True

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def guards(evidence: Evidence, limits: PromoteParams) -> tuple[Check, ...]:
    adapted = evidence.recent is not None and evidence.recent.votes_from == "run"
    parts = (
        _parts("class", "the recall of class", evidence.classes, limits.max_class_loss),
        _parts("slice", "the accuracy on the images with", evidence.slices, limits.max_slice_loss),
    )
    if adapted:
        why = "; of a model that is adapted to other images, the loss on all test images counts instead"
        parts = tuple(replace(check, decides=False, sentence=check.sentence + why) for check in parts)
    return (
        *parts,
        _known_classes(evidence),
        _calibration(evidence, limits),
        _latency(evidence, limits),
        _size(evidence, limits),
    )


def _parts(name: str, what: str, parts: tuple[Difference, ...], limit: float) -> Check:
    """Fails where the loss in some part is larger than `limit` and its interval lies below 0. The intervals hold for
    all parts of all kinds together, or one of many would always be lost by chance."""
    if not parts:
        return Check(name, True, None, limit, f"no {name} of the test images was looked at separately")
    lost = [part for part in parts if -part.difference.value > limit and part.difference.high < 0]
    worst = min(lost or parts, key=lambda part: part.difference.value)
    sentence = (
        f"{what} {worst.name!r} changes by {points(worst.difference)} on {worst.images:,} images, and a loss of "
        f"{100 * limit:g} is allowed"
    )
    if len(lost) > 1:
        sentence += f"; so it is with {len(lost) - 1} more"
    elif not lost and -worst.difference.value > limit:
        sentence += ", but these are too few images to call it more than chance"
    return Check(name, not lost, 0.0 - worst.difference.value, limit, sentence)


def _known_classes(evidence: Evidence) -> Check:
    """A class may have gone from the data by mistake, and no test image would tell."""
    gone = evidence.classes_gone
    names = ", ".join(map(repr, gone[:SHOWN])) + (f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else "")
    sentence = (
        f"it no longer knows {names}, which the champion does: if that is meant, graft promote --force --reason TEXT"
        if gone else "it knows all of the champion's classes"
    )  # fmt: skip
    return Check("known_classes", not gone, float(len(gone)), 0.0, sentence)


def _calibration(evidence: Evidence, limits: PromoteParams) -> Check:
    gain, limit = given(evidence.ece_gain), limits.max_ece_gain
    passed = gain.value <= limit or gain.low <= 0
    champion = given(evidence.champion)
    sentence = (
        f"the challenger's calibration error is {evidence.challenger.ece:.3f}, the champion's {champion.ece:.3f}: "
        f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}), and {limit:g} more is allowed"
    )
    if passed and gain.value > limit:
        sentence += ", but these are too few images to call it more than chance"
    return Check("calibration", passed, gain.value, limit, sentence)


def _latency(evidence: Evidence, limits: PromoteParams) -> Check:
    """The interval must lie above 1: a machine that was busy for a moment refuses nobody."""
    champion, speed_up = given(evidence.champion), given(evidence.speed_up)
    ratio = Interval(1 / speed_up.value, 1 / speed_up.high, 1 / speed_up.low)
    passed = ratio.value <= limits.max_latency_ratio or ratio.low <= 1
    sentence = (
        f"one image takes the challenger {evidence.challenger.latency_ms:.2f} ms ({evidence.challenger.route}) and the "
        f"champion {champion.latency_ms:.2f} ({champion.route}), measured in turns: {ratio.value:.2f} "
        f"({ratio.low:.2f} to {ratio.high:.2f}) times as long, and {limits.max_latency_ratio:g} is allowed"
    )
    return Check("latency", passed, ratio.value, limits.max_latency_ratio, sentence)


def _size(evidence: Evidence, limits: PromoteParams) -> Check:
    own, champion = evidence.challenger.size_mib, given(evidence.champion).size_mib
    ratio = own / champion
    sentence = (
        f"the challenger's file has {own:.2f} MiB and the champion's {champion:.2f}: {ratio:.2f} times as much, and "
        f"{limits.max_size_ratio:g} is allowed"
    )
    return Check("size", ratio <= limits.max_size_ratio, ratio, limits.max_size_ratio, sentence)


def answers(evidence: Evidence) -> Check:
    share = evidence.challenger.answered
    return Check(
        "answers",
        share == 1,
        share,
        1.0,
        f"the challenger gives probabilities for {share:.2%} of {evidence.images:,} test images",
    )


def parity(evidence: Evidence, limits: PromoteParams) -> Check:
    agreement, limit = evidence.challenger.agreement, limits.min_agreement
    if agreement is None:
        return Check("parity", False, None, limit, "the challenger's bundle tells nothing of its parity with torch")
    sentence = (
        f"the challenger's files decide as the trained model does on {agreement:.2%} of the images, and {limit:.2%} is "
        "asked for"
    )
    return Check("parity", agreement >= limit, agreement, limit, sentence)


def points(interval: Interval) -> str:
    """A difference of two shares."""
    return f"{100 * interval.value:+.2f} points ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def given(found: T | None) -> T:
    """What evidence always has where there is a champion."""
    if found is None:
        raise ValueError("evidence with a champion compares both in everything")
    return found

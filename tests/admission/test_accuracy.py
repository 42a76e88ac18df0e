"""Whether a reduced precision is good enough: the numbers worked out by hand, and every limit from both sides."""

from __future__ import annotations

import numpy as np
import pytest

from components.admission import accuracy
from components.admission.accuracy import Rule, Sample
from components.params import EvaluateParams, ExportParams

CLASSES = ("cat", "dog", "owl", "yak")
LIMITS = ExportParams(min_precision_agreement=0.9, max_accuracy_loss=0.005, max_class_loss=0.02)


def _rule(limits: ExportParams = LIMITS) -> Rule:
    return Rule(limits, EvaluateParams(resamples=500), 0)


def _logits(decisions: np.ndarray) -> np.ndarray:
    """A clear decision for the class of each image."""
    return 5.0 * np.eye(len(CLASSES))[decisions]


@pytest.fixture
def labels() -> np.ndarray:
    """400 images, a hundred of each class."""
    return np.arange(400) % 4


@pytest.fixture
def sample(labels) -> Sample:
    return Sample(labels, [f"{number}.png" for number in range(len(labels))], CLASSES, 2.0)


def _changed(labels: np.ndarray, class_number: int, count: int, to: int) -> np.ndarray:
    """The labels, but for the first so many images of a class, which are answered with another."""
    decisions = labels.copy()
    decisions[np.flatnonzero(labels == class_number)[:count]] = to
    return decisions


def test_equal_answers_are_admitted_and_few_images_are_said_to_prove_little(labels, sample):
    verdict = accuracy.judge(_logits(labels), _logits(labels) + 0.25, sample, _rule())
    assert verdict["admitted"]
    assert (verdict["agreement"], verdict["accuracy"], verdict["parent_accuracy"]) == (1.0, 1.0, 1.0)
    assert verdict["max_logit_difference"] == 0.25
    # Wilson, 1927, for none of 400 at 95 %: z² / (400 + z²) with z = 1.96
    reach = 1.959964**2 / (400 + 1.959964**2)
    assert verdict["accuracy_difference"] == pytest.approx({"value": 0.0, "low": -reach, "high": reach}, abs=1e-6)
    assert "too few images to exclude a loss above 0.5" in verdict["reason"]


def test_enough_images_exclude_a_larger_loss(labels):
    many = np.tile(labels, 3)
    sample = Sample(many, [str(number) for number in range(len(many))], CLASSES, 1.0)
    verdict = accuracy.judge(_logits(many), _logits(many), sample, _rule())
    assert verdict["accuracy_difference"]["low"] > -LIMITS.max_accuracy_loss
    assert "too few" not in verdict["reason"]


def test_calibration_is_measured_with_the_shipped_temperature(labels, sample):
    """Every answer is right, so the error of calibration is what the confidence lacks of 1: with logits 5, 0, 0, 0 and
    the temperature 2 that is 1 - e^2.5 / (e^2.5 + 3); at half the logits, 1 - e^1.25 / (e^1.25 + 3)."""
    verdict = accuracy.judge(_logits(labels), _logits(labels) / 2, sample, _rule())
    assert verdict["parent_ece"] == pytest.approx(1 - np.exp(2.5) / (np.exp(2.5) + 3))
    assert verdict["ece"] == pytest.approx(1 - np.exp(1.25) / (np.exp(1.25) + 3))


def test_the_accuracy_may_fall_by_half_a_point_and_no_more(labels, sample):
    lost = labels.copy()
    lost[[0, 1]] = [1, 2]  # one cat and one dog: 2 of 400
    verdict = accuracy.judge(_logits(labels), _logits(lost), sample, _rule())
    assert verdict["accuracy_difference"]["value"] == -0.005
    assert verdict["admitted"], verdict["reason"]
    lost[2] = 3
    verdict = accuracy.judge(_logits(labels), _logits(lost), sample, _rule())
    assert not verdict["admitted"]
    assert verdict["accuracy"] == 397 / 400
    assert "accuracy -0.75 points" in verdict["reason"]
    assert "export.max_accuracy_loss allows 0.5" in verdict["reason"]
    assert verdict["accuracy_difference"]["low"] <= -0.0075 <= verdict["accuracy_difference"]["high"] <= 0


def test_agreement_counts_changes_between_wrong_answers_too(labels, sample):
    parent, candidate = _changed(labels, 0, 50, to=1), _changed(labels, 0, 50, to=2)
    verdict = accuracy.judge(_logits(parent), _logits(candidate), sample, _rule())
    assert verdict["agreement"] == 0.875
    assert verdict["accuracy_difference"]["value"] == 0.0
    assert not verdict["admitted"]
    assert "87.50% of 400 decisions agree, export.min_precision_agreement asks for 90.00%" in verdict["reason"]
    assert "0.png, 4.png, 8.png, …" in verdict["reason"]


def test_a_class_that_falls_is_refused_even_where_another_makes_up_for_it(labels, sample):
    parent = _changed(labels, 1, 10, to=0)  # ten dogs wrong, which the candidate has right
    candidate = _changed(labels, 3, 10, to=0)  # and ten yaks wrong instead
    verdict = accuracy.judge(_logits(parent), _logits(candidate), sample, _rule())
    assert verdict["accuracy_difference"]["value"] == 0.0
    assert verdict["worst_class"]["class_name"] == "yak"
    assert verdict["worst_class"]["difference"] == pytest.approx(-0.1)
    assert verdict["worst_class"]["high"] < 0
    assert not verdict["admitted"]
    assert "recall of 'yak' -10.00 points" in verdict["reason"]
    assert "export.max_class_loss allows 2" in verdict["reason"]


def test_of_several_classes_that_fall_the_worst_is_named(labels, sample):
    candidate = _changed(labels, 1, 30, to=0)
    candidate[np.flatnonzero(labels == 3)[:20]] = 0
    verdict = accuracy.judge(_logits(labels), _logits(candidate), sample, _rule())
    assert "recall of 'dog' -30.00 points" in verdict["reason"]
    assert "and of 1 more classes, export.max_class_loss allows 2" in verdict["reason"]


def test_a_loss_of_a_class_that_chance_explains_is_admitted(labels, sample):
    """Eight yaks are lost and five gained: three points fewer, where thirteen coins would as easily fall so."""
    parent, candidate = _changed(labels, 3, 5, to=0), labels.copy()
    yaks = np.flatnonzero(labels == 3)
    candidate[yaks[5:13]] = 0  # eight others wrong: -3 points, and an interval over zero
    owls = np.flatnonzero(labels == 2)
    parent[owls[:3]] = 0  # three owls right now, so that the accuracy stays
    verdict = accuracy.judge(_logits(parent), _logits(candidate), sample, _rule())
    assert verdict["worst_class"]["class_name"] == "yak"
    assert verdict["worst_class"]["difference"] == pytest.approx(-0.03)
    assert verdict["worst_class"]["low"] < 0 < verdict["worst_class"]["high"]
    assert verdict["admitted"], verdict["reason"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_and_counts_as_wrong(value, labels, sample):
    candidate = _logits(labels)
    candidate[8, 1] = value  # of the first class, which would win among zeros
    verdict = accuracy.judge(_logits(labels), candidate, sample, _rule())
    assert not verdict["admitted"]
    assert "logits of 1 of 400 images are no numbers (8.png)" in verdict["reason"]
    assert verdict["agreement"] == verdict["accuracy"] == 399 / 400
    assert verdict["max_logit_difference"] is None and verdict["ece"] is None


def test_every_task_must_be_admitted(labels, sample):
    slant = labels % 2
    samples = {"label": sample, "slant": Sample(slant, sample.images, ("straight", "slanted"), 1.0)}
    parent = {"label": _logits(labels), "slant": np.eye(2)[slant]}
    candidate = {"label": _logits(labels), "slant": np.eye(2)[1 - slant]}
    verdict = accuracy.judge_tasks(parent, parent, samples, _rule())
    assert verdict["admitted"] and verdict["other_tasks"]["slant"]["admitted"]
    verdict = accuracy.judge_tasks(parent, candidate, samples, _rule())
    assert not verdict["admitted"]
    assert verdict["reason"].startswith("slant: 0.00% of 400 decisions agree")
    assert verdict["agreement"] == 1.0  # of the first task, whose numbers stand at the top


def test_equal_inputs_give_equal_verdicts(labels, sample):
    lost = _changed(labels, 0, 2, to=1)
    first, again = (accuracy.judge(_logits(labels), _logits(lost), sample, _rule()) for _ in range(2))
    assert first == again

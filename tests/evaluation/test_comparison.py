"""Validation ranks, test reports, and the sentence for a reader in a hurry says no more than the numbers do."""

from __future__ import annotations

import numpy as np
import pytest

from components.errors import DataError
from components.evaluation.comparison import Answers, compare, generalised_accuracy, lead, score, verdict
from components.params import EvaluateParams

PARAMS = EvaluateParams(resamples=200)
LABELS = np.arange(100) % 2


def _answers(right: float, seeds: int = 1, labels: np.ndarray = LABELS, confidence: float = 2.0) -> Answers:
    """Answers that are right on the first `right` share of the images."""
    answer = np.where(np.arange(len(labels)) < right * len(labels), labels, 1 - labels)
    logits = np.where(answer[:, None] == np.arange(2), confidence, 0.0)
    return Answers(np.stack([logits] * seeds), labels)


def _entry(val: float, test: float, **options) -> dict[str, Answers]:
    return {"val": _answers(val, **options), "test": _answers(test, **options)}


def test_the_share_of_seeds_that_were_right_on_each_image():
    logits = np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])  # seeds agree on the first image only
    assert Answers(logits, np.array([0, 1])).correct().tolist() == [1.0, 0.5]


def test_a_score_is_the_mean_over_seeds():
    right, wrong = _answers(0.9), _answers(0.5)
    both = Answers(np.concatenate([right.logits, wrong.logits]), LABELS)
    found = score(both, PARAMS, seed=0)
    alone = [score(answers, PARAMS, seed=0) for answers in (right, wrong)]
    for name in ("accuracy", "macro_f1", "ece", "log_loss"):
        assert found[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2)
    assert found["accuracy"] == pytest.approx(0.7)
    assert found["low"] < 0.7 < found["high"]


def test_validation_ranks_whatever_the_test_images_say():
    entries = {"a": _entry(0.7, 0.9), "b": _entry(0.9, 0.6), "c": _entry(0.8, 0.99)}
    ranked, leads = compare(entries, PARAMS, seed=0)
    assert ranked == ["b", "c", "a"]
    assert [(entry["strategy"], entry["over"]) for entry in leads] == [("b", "c"), ("b", "a")]
    assert leads[1]["difference"] == pytest.approx(-0.3)  # of the test images


def test_ties_are_broken_by_log_loss_and_then_by_name():
    entries = {"z": _entry(0.8, 0.5), "a": _entry(0.8, 0.5), "sure": _entry(0.8, 0.5, confidence=1.0)}
    # At four of five right, odds of e^1 cost less than odds of e^2.
    assert compare(entries, PARAMS, seed=0)[0] == ["sure", "a", "z"]


def test_macro_f1_can_choose_instead():
    # 90 images of class 0, 10 of class 1. "lazy" always says 0: accuracy 0.9, F1 of class 1 is 0.
    labels = np.array([0] * 90 + [1] * 10)
    lazy = Answers(np.tile([1.0, 0.0], (1, 100, 1)), labels)
    balanced = _answers(1.0, labels=labels)
    balanced.logits[0, :12] = balanced.logits[0, :12, ::-1]  # 12 mistakes: accuracy 0.88
    entries = {"lazy": {"val": lazy, "test": lazy}, "balanced": {"val": balanced, "test": balanced}}
    assert compare(entries, EvaluateParams(resamples=100), seed=0)[0][0] == "lazy"
    assert compare(entries, EvaluateParams(resamples=100, select_by="macro_f1"), seed=0)[0][0] == "balanced"


def test_a_lead_is_real_where_its_interval_excludes_zero():
    entries = {"good": _entry(0.9, 0.9), "bad": _entry(0.5, 0.5), "same": _entry(0.9, 0.9)}
    over_bad = lead(entries, "good", "bad", PARAMS, 0)
    assert over_bad["real"]
    assert 0 < over_bad["low"] < over_bad["difference"] < over_bad["high"]
    behind = lead(entries, "bad", "good", PARAMS, 0)
    assert behind["real"]
    assert behind["high"] < 0
    assert not lead(entries, "good", "same", PARAMS, 0)["real"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_answers_to_different_images_are_refused(split):
    entries = {"a": _entry(0.7, 0.7), "b": _entry(0.7, 0.7)}
    entries["b"][split] = _answers(0.7, labels=1 - LABELS)
    with pytest.raises(DataError, match=f"different {split} images"):
        compare(entries, PARAMS, seed=0)
    entries["b"][split] = _answers(0.7, labels=LABELS[:50])
    with pytest.raises(DataError, match=f"different {split} images"):
        compare(entries, PARAMS, seed=0)


ENTRY = {"test": {"accuracy": 0.912, "low": 0.9, "high": 0.925}}


def _lead(low: float, high: float) -> dict:
    return {"strategy": "dan", "over": "from_scratch", "difference": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("chosen", "leads", "wording"),
    [
        ("from_scratch", [], "No transfer did better on validation than training from scratch."),
        ("dan", [_lead(0.02, 0.06)], "Transfer beat training from scratch by +4.0 points (+2.0 to +6.0)"),
        ("dan", [_lead(-0.06, -0.02)], "Negative transfer: on the test images it is -4.0 points (-6.0 to -2.0)"),
        ("dan", [_lead(-0.01, 0.03)], "+1.0 points (-1.0 to +3.0): these test images cannot tell the two apart."),
        ("dan", [], "There is no from_scratch entry to compare transfer with."),
    ],
)
def test_the_verdict_says_what_the_interval_allows(chosen, leads, wording):
    text = verdict(chosen, ENTRY, leads)
    assert text.startswith(
        f"{chosen} was chosen on the validation images and answers 91.2% of the test images correctly (90.0% to 92.5%)."
    )
    assert wording in text


def test_the_verdict_looks_at_the_winner_s_lead_over_the_baseline_alone():
    other = {**_lead(-0.5, -0.4), "strategy": "fine_tune"}
    third = {**_lead(-0.5, -0.4), "over": "fine_tune"}
    assert "Transfer beat" in verdict("dan", ENTRY, [other, third, _lead(0.02, 0.06)])


def test_generalised_accuracy_is_a_mean_over_classes_and_their_harmonic_mean():
    labels = np.array([0] * 8 + [1] * 2 + [2] * 4)
    answer = np.array([0] * 8 + [1, 0] + [2, 0, 0, 0])
    found = generalised_accuracy(Answers(np.eye(3)[answer][None], labels), unseen=[2])
    # Seen: 8 of 8 and 1 of 2, so 0.75 whatever the classes' sizes; unseen 1 of 4; 2 * .75 * .25 / 1.
    assert found == pytest.approx({"seen": 0.75, "unseen": 0.25, "harmonic_mean": 0.375})


def test_generalised_accuracy_of_nothing_right_is_zero():
    labels = np.array([0, 1])
    found = generalised_accuracy(Answers(np.eye(2)[1 - labels][None], labels), unseen=[1])
    assert found == {"seen": 0.0, "unseen": 0.0, "harmonic_mean": 0.0}

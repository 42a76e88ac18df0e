"""Against numbers worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from components.evaluation import metrics

LN3 = math.log(3)


def _logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_probabilities_by_hand():
    np.testing.assert_allclose(metrics.probabilities(_logits([LN3, 0.0])), [[0.75, 0.25]], atol=1e-7)


def test_softmax_survives_huge_logits():
    found = metrics.log_softmax(_logits([10000.0, 0.0, -10000.0]))
    np.testing.assert_allclose(found, [[0.0, -10000.0, -20000.0]])
    assert metrics.probabilities(_logits([10000.0, 0.0])).tolist() == [[1.0, 0.0]]


def test_softmax_works_over_the_last_axis_of_any_shape():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_allclose(metrics.probabilities(logits).sum(-1), np.ones((2, 3)))


def test_log_loss_by_hand():
    # 3/4 for the right class costs ln(4/3), 1/4 costs ln 4.
    found = metrics.log_loss(_logits([LN3, 0.0], [LN3, 0.0]), np.array([0, 1]))
    assert found == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_confusion_by_hand():
    # Rows are the truth: of the two images of class 0 one is taken for class 2.
    counts = metrics.confusion(np.array([0, 2, 1, 2]), np.array([0, 0, 1, 2]), 3)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_precision_recall_f1_by_hand():
    # Class 0: hits 1 of 2, answered once. Class 1: 1 of 1, once. Class 2: 1 of 1, answered twice.
    precision, recall, f1 = metrics.precision_recall_f1(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]))
    assert precision.tolist() == [1.0, 1.0, 0.5]
    assert recall.tolist() == [0.5, 1.0, 1.0]
    np.testing.assert_allclose(f1, [2 / 3, 1.0, 2 / 3])


def test_a_class_that_is_never_answered_or_never_there_scores_zero():
    precision, recall, f1 = metrics.precision_recall_f1(np.array([[2, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert (precision[1], recall[1], f1[1]) == (0, 0, 0)
    assert (precision[2], recall[2], f1[2]) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn_agrees(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 2, (60, 4)), rng.integers(4, size=60)
    answers = logits.argmax(1)
    counts = metrics.confusion(answers, labels, 4)
    assert counts.tolist() == reference.confusion_matrix(labels, answers, labels=range(4)).tolist()
    expected = reference.precision_recall_fscore_support(labels, answers, labels=range(4), zero_division=0)
    for found, wanted in zip(metrics.precision_recall_f1(counts), expected[:3], strict=True):
        np.testing.assert_allclose(found, wanted)
    assert metrics.log_loss(logits, labels) == pytest.approx(
        reference.log_loss(labels, metrics.probabilities(logits), labels=range(4))
    )


def test_calibration_error_by_hand():
    # Two classes. Three answers at confidence 3/4, of which one is right: gap |3/4 - 1/3| = 5/12. One answer at 9/10,
    # right: gap 1/10. Weighted by how many fall in each bin: 3/4 * 5/12 + 1/4 * 1/10 = 0.3375.
    logits = _logits([LN3, 0.0], [LN3, 0.0], [0.0, LN3], [0.0, math.log(9)])
    labels = np.array([0, 1, 0, 1])
    assert metrics.expected_calibration_error(logits, labels, bins=10) == pytest.approx(0.3375)


def test_calibration_error_of_one_bin_is_the_gap_of_the_means():
    logits = _logits([LN3, 0.0], [math.log(9), 0.0])
    found = metrics.expected_calibration_error(logits, np.array([0, 1]), bins=1)
    assert found == pytest.approx(abs((0.75 + 0.9) / 2 - 0.5))


def test_certain_and_right_is_perfectly_calibrated():
    assert metrics.expected_calibration_error(_logits([1000.0, 0.0], [0.0, 1000.0]), np.array([0, 1])) == 0.0


def test_reliability_by_hand():
    logits = _logits([LN3, 0.0], [LN3, 0.0], [0.0, LN3], [0.0, math.log(9)])
    bins = metrics.reliability(logits, np.array([0, 1, 0, 1]), bins=5)
    assert bins == [
        pytest.approx({"low": 0.6, "high": 0.8, "images": 3, "confidence": 0.75, "accuracy": 1 / 3}),
        pytest.approx({"low": 0.8, "high": 1.0, "images": 1, "confidence": 0.9, "accuracy": 1.0}),
    ]


def test_certainty_falls_into_the_last_bin():
    bins = metrics.reliability(_logits([1000.0, 0.0]), np.array([1]))
    assert [(entry["high"], entry["images"], entry["accuracy"]) for entry in bins] == [(1.0, 1, 0.0)]


def test_brier_by_hand():
    # Probabilities 3/4 and 1/4. Truth the first: 1/16 + 1/16; truth the second: 9/16 + 9/16.
    assert metrics.brier(_logits([LN3, 0.0]), np.array([0])) == pytest.approx(1 / 8)
    assert metrics.brier(_logits([LN3, 0.0], [LN3, 0.0]), np.array([0, 1])) == pytest.approx((1 / 8 + 9 / 8) / 2)
    # Of three equal chances: 4/9 + 1/9 + 1/9. Sure and wrong: 1 + 1.
    assert metrics.brier(_logits([0.0, 0.0, 0.0]), np.array([2])) == pytest.approx(2 / 3)
    assert metrics.brier(_logits([1000.0, 0.0, 0.0]), np.array([2])) == pytest.approx(2)


def test_brier_of_two_classes_is_twice_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 2)), rng.integers(2, size=50)
    expected = reference.brier_score_loss(labels, metrics.probabilities(logits)[:, 1])
    assert metrics.brier(logits, labels) == pytest.approx(2 * expected)


def test_macro_f1_is_that_of_scikit_learn_also_where_a_class_is_missing():
    labels, answers = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    expected = reference.f1_score(labels, answers, average="macro")
    assert metrics.macro_f1(metrics.confusion(answers, labels, 2)) == pytest.approx(expected)
    assert metrics.macro_f1(metrics.confusion(answers, labels, 4)) == pytest.approx(expected)

"""Confident learning: worked out by hand on a few images, and on the digits with planted errors."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation import label_errors
from components.evaluation.label_errors import confident_joint, is_reliable, out_of_fold, stratified, suspects

# Thresholds by hand: class 0 (0.9 + 0.8 + 0.1) / 3 = 0.6; class 1 (0.7 + 0.6 + 0.2) / 3 = 0.5; class 2 has none.
LABELS = np.array([0, 0, 0, 1, 1, 1])
PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.3, 0.7, 0.0], [0.4, 0.6, 0.0], [0.55, 0.2, 0.25]]
)


def test_the_confident_joint_by_hand():
    """The last image is nobody's: 0.55 is the largest, and below what class 0 is used to."""
    counts, counted = confident_joint(PROBABILITIES, LABELS)
    assert counts.tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert counted.tolist() == [0, 0, 1, 1, 1, -1]


def test_of_two_classes_that_are_probable_enough_the_more_probable_counts():
    probabilities = np.array([[0.6, 0.4], [0.45, 0.55], [0.2, 0.8], [0.9, 0.1]])
    labels = np.array([0, 0, 1, 1])  # thresholds 0.525 and 0.45
    assert confident_joint(probabilities, labels)[1].tolist() == [0, 1, 1, 0]
    # 0.5 and 0.5 are both enough for [0.55, 0.5]: 0.55 counts.
    three = np.array([[0.5, 0.5, 0.0], [0.55, 0.5, 0.0]])
    assert confident_joint(three, np.array([0, 1]))[1][1] == 0


def test_suspects_by_hand():
    """One of three labels 0 is counted as 1, and no label 1 as 0: the share of the wrong, times three images."""
    found = suspects(PROBABILITIES, LABELS)
    assert (found.rows.tolist(), found.suggestions.tolist()) == ([2], [1])
    assert found.expected == pytest.approx(1.0)


def test_the_most_suspicious_label_comes_first():
    """Margins 0.6 and 0.96; the third image has a margin too, but no class is sure enough of it."""
    probabilities = np.array([[0.2, 0.8], [0.02, 0.98], [0.48, 0.52], [0.99, 0.01], [0.98, 0.02], [0.3, 0.7]])
    labels = np.array([0, 0, 0, 0, 0, 1])
    assert suspects(probabilities, labels).rows.tolist() == [1, 0]


def test_every_fold_has_its_share_of_every_class_and_none_is_empty():
    labels = np.repeat([0, 1, 2], [50, 11, 2])
    fold = stratified(labels, 5, seed=0)
    assert np.bincount(fold[labels == 0]).tolist() == [10] * 5
    assert sorted(np.bincount(fold[labels == 1], minlength=5)) == [2, 2, 2, 2, 3]
    assert len(set(fold[labels == 2])) == 2
    assert np.array_equal(fold, stratified(labels, 5, seed=0))
    assert not np.array_equal(fold, stratified(labels, 5, seed=1))


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    features, labels = load_digits(return_X_y=True)
    return features, labels


def test_the_regression_is_the_library_s(digits):
    from sklearn.linear_model import LogisticRegression

    features, labels = digits[0][:300, 10:40] / 16, digits[1][:300]
    found = label_errors.logistic(features, np.eye(10)[labels], 0.01, np.zeros((31, 10)))
    expected = LogisticRegression(C=1 / (0.01 * 300), tol=1e-8, max_iter=2000).fit(features, labels)
    logits = features @ found[:-1] + found[-1]
    assert np.allclose(np.exp(label_errors.log_softmax(logits)), expected.predict_proba(features), atol=5e-3)


def test_no_image_is_judged_by_a_model_that_saw_its_label():
    """Features that name the image and nothing else: whoever saw the label knows it, and nobody else does better than
    the shares of the classes."""
    labels = np.tile([0, 1], 20)
    probabilities = out_of_fold(np.eye(40), labels, 2, folds=5, seed=0)
    assert np.allclose(probabilities, 0.5, atol=0.06)


def test_classes_with_fewer_images_than_folds_do_not_end_it(digits):
    rows = np.concatenate([np.flatnonzero(digits[1] == number)[:count] for number, count in enumerate((30, 30, 3, 1))])
    probabilities = out_of_fold(digits[0][rows], digits[1][rows], 10, folds=5, seed=0)
    assert np.allclose(probabilities.sum(1), 1)
    assert np.isfinite(suspects(probabilities, digits[1][rows]).expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_errors_in_the_digits_are_found(seed, digits):
    """Recall of at least 0.6 at a precision of at least 0.5, with 5 % of the labels wrong."""
    features, labels = digits
    rng = np.random.default_rng(seed)
    planted = rng.permutation(len(labels))[: round(0.05 * len(labels))]
    given = labels.copy()
    given[planted] = (labels[planted] + rng.integers(1, 10, len(planted))) % 10
    probabilities = out_of_fold(features, given, 10, folds=5, seed=0)
    found = suspects(probabilities, given)
    right = np.isin(found.rows, planted)
    assert right.sum() / len(planted) >= 0.7  # measured: 0.76 to 0.79
    assert right.mean() >= 0.85  # measured: 0.93 to 0.95
    assert right[:20].mean() >= 0.9
    assert (found.suggestions[right] == labels[found.rows[right]]).mean() >= 0.95
    assert 0.8 * len(planted) <= found.expected <= 1.3 * len(planted)
    assert is_reliable(float((probabilities.argmax(1) == given).mean()), given)


def test_labels_as_they_are_raise_hardly_a_suspicion(digits):
    probabilities = out_of_fold(*digits, 10, folds=5, seed=0)
    assert len(suspects(probabilities, digits[1]).rows) <= 9  # half a percent


def test_a_classifier_that_guesses_may_accuse_nobody(digits):
    labels = np.random.default_rng(0).permutation(digits[1])
    probabilities = out_of_fold(digits[0][:600], labels[:600], 10, folds=5, seed=0)
    assert not is_reliable(float((probabilities.argmax(1) == labels[:600]).mean()), labels[:600])


@pytest.mark.parametrize(
    ("accuracy", "labels", "reliable"),
    [
        (0.86, [0, 1], True),  # of the guesser's half, 0.72 is avoided
        (0.84, [0, 1], False),  # 0.68
        (0.95, [0] * 9 + [1], False),  # half of the guesser's tenth
        (0.98, [0] * 9 + [1], True),
        (1.0, [0, 0], False),  # one class: there is nothing to be wrong about
        (1.0, [], False),
    ],
)
def test_reliable_is_better_than_guessing_by_far(accuracy, labels, reliable):
    assert is_reliable(accuracy, np.array(labels, dtype=int)) is reliable

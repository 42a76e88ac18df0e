"""LogME and the ridge probe against hand-worked numbers, and against definitions that know none of their shortcuts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from components.evaluation.transferability import PENALTIES, log_me, ridge_probe


def features_and_labels(count: int, width: int, classes: int, signal: float, seed: int = 0):
    """features [N, D] that tell the classes [N] apart the better, the stronger the signal."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return signal * rng.normal(size=(classes, width))[labels] + rng.normal(size=(count, width)), labels


def evidence(features: np.ndarray, target: np.ndarray) -> float:
    """max over alpha and beta of log N(target; 0, I / beta + F F' / alpha) / N, by a search that knows no algebra."""
    count, kernel = len(target), features @ features.T

    def negative(logarithms: np.ndarray) -> float:
        alpha, beta = np.exp(logarithms)
        covariance = np.eye(count) / beta + kernel / alpha
        squares = target @ np.linalg.solve(covariance, target)
        return 0.5 * (squares + np.linalg.slogdet(covariance)[1] + count * np.log(2 * np.pi))

    found = [optimize.minimize(negative, start, method="Nelder-Mead", tol=1e-9) for start in ((0.0, 0.0), (4.0, 3.0))]
    return -min(result.fun for result in found) / count


# By hand, for one feature: let u be its direction among the images, sigma its squared length, k = 1 + sigma / ratio and
# q(k) = (u'y)^2 / k + the rest of |y|^2. The evidence per image, with the best noise for each k, is
# -log(q / N) / 2 - log(k) / 2N - (1 + log 2 pi) / 2; its slope in k is zero where N (u'y)^2 / (k q) = k, and k >= 1.
CONSTANT = 0.5 * (1 + np.log(2 * np.pi))


def test_a_feature_that_tells_nothing_is_worth_as_much_as_none_by_hand() -> None:
    # u = (1, 1, 0, 0) / sqrt 2; both targets have (u'y)^2 = 1/2 and the rest 3/2: 4 / 2 = k (1 / 2k + 3/2), so k = 1.
    features, labels = np.array([[2.0], [2.0], [0.0], [0.0]]), np.array([0, 1, 0, 1])
    assert log_me(features, labels) == pytest.approx(-0.5 * np.log(2 / 4) - CONSTANT)


def test_a_feature_that_is_right_but_for_one_image_by_hand() -> None:
    # u = (1, 1, 1, 0) / sqrt 3. First class, y = (1, 1, 0, 0): (u'y)^2 = 4/3 and the rest 2/3: 16 / 3 = 4/3 + 2 k / 3,
    # so k = 6, q = 8/9. Second class, y = (0, 0, 1, 1): 1/3 and 5/3: 4/3 = 1/3 + 5 k / 3 at k < 1, so k = 1, q = 2.
    features, labels = np.array([[2.0], [2.0], [2.0], [0.0]]), np.array([0, 0, 1, 1])
    first = -0.5 * np.log(8 / 9 / 4) - np.log(6) / 8 - CONSTANT
    second = -0.5 * np.log(2 / 4) - CONSTANT
    assert log_me(features, labels) == pytest.approx((first + second) / 2, abs=1e-9)


@pytest.mark.parametrize(("count", "width", "classes"), [(30, 4, 3), (18, 30, 2), (20, 20, 2)])
def test_log_me_is_the_greatest_evidence_of_a_linear_law(count: int, width: int, classes: int) -> None:
    features, labels = features_and_labels(count, width, classes, 0.7)
    naive = np.mean([evidence(features, (labels == number).astype(float)) for number in range(classes)])
    assert log_me(features, labels) == pytest.approx(naive, abs=1e-6)


def test_log_me_does_not_depend_on_the_features_unit_or_on_repeated_and_constant_ones() -> None:
    features, labels = features_and_labels(40, 5, 2, 0.5)
    expected = log_me(features, labels)
    assert log_me(1e3 * features, labels) == pytest.approx(expected, abs=1e-9)
    assert log_me(np.hstack([features, np.zeros((40, 3))]), labels) == pytest.approx(expected, abs=1e-9)
    assert log_me(np.hstack([features, features]), labels) == pytest.approx(expected, abs=1e-9)


def test_log_me_prefers_features_that_tell_more_and_is_finite_at_the_ends() -> None:
    found = [log_me(*features_and_labels(60, 8, 3, signal)) for signal in (0.0, 0.5, 2.0)]
    assert found == sorted(found)
    labels = np.arange(20) % 2
    perfect, useless = log_me(np.eye(2)[labels], labels), log_me(np.zeros((20, 3)), labels)
    assert np.isfinite([perfect, useless]).all()
    assert perfect > found[-1] > useless
    # Without features each target has the variance 1/2 around 0.
    assert useless == pytest.approx(-0.5 * (np.log(2 * np.pi * 0.5) + 1))


def left_out(features: np.ndarray, labels: np.ndarray, l2: float) -> tuple[float, np.ndarray]:
    """Squared error and correctness of leave-one-out, by solving N times for standardised features and an offset."""
    x = (features - features.mean(0)) / features.std(0)
    targets, count = np.eye(labels.max() + 1)[labels], len(x)
    penalty = np.diag([count * l2] * x.shape[1] + [0.0])
    answers = []
    for index in range(count):
        others = np.arange(count) != index
        design = np.hstack([x[others], np.ones((count - 1, 1))])
        weight = np.linalg.solve(design.T @ design + penalty, design.T @ targets[others])
        answers.append(np.append(x[index], 1.0) @ weight)
    return float(np.mean((targets - answers) ** 2)), np.argmax(answers, 1) == labels


def test_the_probe_takes_the_penalty_of_the_least_leave_one_out_error_and_says_who_was_right() -> None:
    features, labels = features_and_labels(36, 6, 3, 0.6)
    probe = ridge_probe(features, labels)
    errors = {l2: left_out(features, labels, l2)[0] for l2 in PENALTIES}
    assert probe.l2 == min(errors, key=errors.__getitem__)
    assert probe.l2 not in (PENALTIES[0], PENALTIES[-1])
    np.testing.assert_array_equal(probe.correct, left_out(features, labels, probe.l2)[1])
    assert 0 < probe.correct.mean() < 1


@pytest.mark.parametrize("width", [6, 60])
def test_the_probe_answers_as_the_normal_equations_do(width: int) -> None:
    features, labels = features_and_labels(36, width, 3, 0.6)
    probe = ridge_probe(features, labels + 10)
    x = (features - features.mean(0)) / features.std(0)
    targets = np.eye(3)[labels]
    weight = np.linalg.solve(x.T @ x + 36 * probe.l2 * np.eye(width), x.T @ (targets - targets.mean(0)))
    new = features_and_labels(50, width, 3, 0.6, seed=1)[0]
    scores = (new - features.mean(0)) / features.std(0) @ weight + targets.mean(0)
    np.testing.assert_allclose(new @ probe.weight + probe.offset, scores, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(probe.answers(new), scores.argmax(1) + 10)


def test_a_feature_that_never_varies_gets_no_weight() -> None:
    features, labels = features_and_labels(30, 3, 2, 1.0)
    probe = ridge_probe(np.hstack([features, np.full((30, 1), 7.0)]), labels)
    alone = ridge_probe(features, labels)
    np.testing.assert_allclose(probe.weight, np.vstack([alone.weight, np.zeros((1, 2))]), atol=1e-9)
    np.testing.assert_array_equal(probe.correct, alone.correct)

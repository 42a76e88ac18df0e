"""Learning curves of known parameters, and cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit, isotonic_regression

from components import jsonfile
from components.errors import GraftError
from components.evaluation.curve_answers import summary
from components.evaluation.learning_curve import (
    LearningCurve,
    PowerLaw,
    band,
    fit,
    monotone,
    needed,
    resampled,
    weights,
)
from components.params import EvaluateParams

LABELS = np.array([1.0, 2.0, 5.0, 10.0, 20.0])
EVEN = np.ones(5)


def answers(accuracy: np.ndarray, seeds: int = 3, images: int = 1000) -> np.ndarray:
    """[K, S, N] with exactly these shares of right answers, on the same easiest images for every seed."""
    right = np.arange(images) < np.round(np.asarray(accuracy) * images)[:, None]
    return np.repeat(right[:, None], seeds, axis=1)


def curve(accuracy, labels=LABELS, **more) -> LearningCurve:
    options = {"confidence": 0.95, "resamples": 300, "seed": 0}
    return LearningCurve(tuple(int(k) for k in labels), answers(np.asarray(accuracy), **more), **options)


@pytest.mark.parametrize(("a", "b", "c"), [(0.05, 0.6, 0.7), (0.0, 0.5, 0.3), (0.02, 0.9, 2.0), (0.1, 0.3, 0.1)])
def test_the_fit_finds_the_parameters_of_an_exact_curve(a, b, c):
    law = fit(LABELS, a + b * LABELS**-c, EVEN)
    assert float(law.a) == pytest.approx(a, abs=2e-4)
    assert float(law.b) == pytest.approx(b, abs=2e-4)
    assert float(law.c) == pytest.approx(c, abs=2e-3)


def test_the_fit_is_the_one_of_scipy_on_noisy_points():
    error = np.array([0.52, 0.41, 0.24, 0.19, 0.16])
    weight = weights(error, 1000)
    found, _ = curve_fit(
        lambda k, a, b, c: a + b * k**-c, LABELS, error, p0=(0.1, 0.5, 0.5), sigma=weight**-0.5,
        bounds=([0, 0, 0.05], [1, 2, 3]), xtol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(np.array(fit(LABELS, error, weight)), found, atol=1e-3)


def test_many_curves_are_fitted_as_one_is():
    errors = np.random.default_rng(0).uniform(0.1, 0.5, (7, 5))
    together = fit(LABELS, errors, EVEN)
    for index, error in enumerate(errors):
        for both, alone in zip(together, fit(LABELS, error, EVEN), strict=True):
            assert float(both[index]) == pytest.approx(float(alone))


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_a_flat_curve_is_flat_for_ever(error):
    law = fit(LABELS, np.full(5, error), EVEN)
    assert float(law.error(1000)) == pytest.approx(error, abs=1e-9)
    assert float(law.a + law.b) == pytest.approx(error, abs=1e-9)


def test_a_curve_that_falls_is_taken_as_flat():
    law = fit(LABELS, np.array([0.1, 0.12, 0.14, 0.16, 0.18]), EVEN)
    assert float(law.b) == 0
    assert float(law.a) == pytest.approx(0.14)


def test_the_law_is_inverted_by_hand():
    law = PowerLaw(np.array(0.1), np.array(0.4), np.array(0.5))
    assert float(law.error(4)) == pytest.approx(0.3)
    assert float(law.labels(0.3)) == pytest.approx(4)
    assert float(law.labels(0.12)) == pytest.approx(400)
    assert np.isinf(law.labels(0.1))
    assert np.isinf(law.labels(0.05))


def test_weights_are_inverse_binomial_variances():
    found = weights(np.array([0.5, 0.1, 0.0]), 1_000_000)
    assert found.sum() == pytest.approx(1)
    assert found[1] / found[0] == pytest.approx(0.25 / 0.09, rel=1e-4)
    assert np.isfinite(found[2])


def test_monotone_pools_what_falls():
    np.testing.assert_allclose(monotone(np.array([0.5, 0.9, 0.7, 0.8, 0.6])), [0.5, 0.75, 0.75, 0.75, 0.75])
    np.testing.assert_allclose(monotone(np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])), [[0.1, 0.2, 0.3], [0.2] * 3])


def test_monotone_is_scipy_s_isotonic_regression():
    rng = np.random.default_rng(1)
    for _ in range(5):
        values = rng.uniform(size=8)
        np.testing.assert_allclose(monotone(values), isotonic_regression(values).x)


def test_a_band_over_seeds_and_images_worked_out_by_hand():
    """Two seeds, four images: means 1 and 1/4 by seed; by image 1, 1/2, 1/2, 1/2."""
    of_images, of_seeds = 0.0625 / 4, 0.28125 / 2  # sample variances of these means over their number
    of_chance = 6 / 16 / 3 / 8  # what neither explains: squares sum to 6/16, on 3 degrees of freedom
    variance = of_images + of_seeds - of_chance
    assert variance == pytest.approx(0.140625)
    assert variance**2 / (of_images**2 / 3 + of_seeds**2 / 1) == pytest.approx(1, abs=0.005)  # degrees of freedom
    half = stats.t.ppf(0.7, 1) * variance**0.5
    found = band(np.array([[1, 1, 1, 1], [1, 0, 0, 0]], dtype=bool), 0.4)
    assert found == pytest.approx((0.625, 0.625 - half, 0.625 + half))


def test_the_band_of_one_seed_is_that_of_its_images():
    correct = np.random.default_rng(0).random((1, 200)) < 0.7
    low, high = stats.t.interval(0.95, 199, loc=correct.mean(), scale=stats.sem(correct[0]))
    assert band(correct, 0.95) == pytest.approx((correct.mean(), low, high))


def test_the_band_covers_as_often_as_it_says():
    """Seeds and images are both drawn anew each time: a band of either alone would cover far less often."""
    rng = np.random.default_rng(0)
    inside = narrow = 0
    for _ in range(400):
        skill, ease = rng.normal(0, 0.5, (3, 1)), rng.normal(0, 1, (1, 300))
        correct = rng.normal(size=(3, 300)) < 1 + skill + ease
        truth = stats.norm.cdf(1 / np.sqrt(1 + 0.25 + 1))
        low, high = band(correct, 0.95)[1:]
        inside += low <= truth <= high
        low, high = band(correct[:1].repeat(1, 0), 0.95)[1:]
        narrow += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.99
    assert narrow / 400 < 0.7


@pytest.mark.parametrize("right", [True, False])
def test_where_all_answers_are_alike_the_images_still_leave_a_doubt(right):
    found = band(np.full((3, 100), right), 0.95)
    wilson = stats.binomtest(100 * right, 100).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx((float(right), wilson.low, wilson.high))


def test_resampling_keeps_the_mean_and_finds_the_spread_of_the_seeds():
    rng = np.random.default_rng(0)
    skills = np.array([0.6, 0.8, 0.7, 0.9])
    correct = rng.random((2, 4, 1000)) < skills[None, :, None]
    found = resampled(correct, 2000, seed=0)
    assert found.shape == (2000, 2)
    np.testing.assert_allclose(found.mean(0), correct.mean((1, 2)), atol=6e-3)
    expected = np.sqrt(correct.mean(2).var(1, ddof=1) / 4)  # unbiased; the images' part is small here
    np.testing.assert_allclose(found.std(0), expected, rtol=0.06)
    assert np.array_equal(found[:9], resampled(correct, 2000, seed=0)[:9])


def test_what_is_reached_between_two_numbers_is_interpolated():
    accuracy = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    assert needed(LABELS, accuracy, None, 0.85) == pytest.approx(np.sqrt(10 * 20))
    assert needed(LABELS, accuracy, None, 0.8) == pytest.approx(10)
    assert needed(LABELS, accuracy, None, 0.4) == 1
    assert np.isinf(needed(LABELS, accuracy, None, 0.95))
    dip = np.array([0.5, 0.6, 0.82, 0.78, 0.9])  # 0.81 was not reached at 5: chance lifted it there
    assert float(needed(LABELS, dip, None, 0.81)) == pytest.approx(10 * 2**0.1)


def test_a_goal_beyond_the_measured_is_extrapolated():
    exact = 1 - (0.02 + 0.4 * LABELS**-0.6)  # 0.4 k^-0.6 = 0.03 at k = 75
    found = curve(exact, images=10_000).labels_needed(0.95)
    assert found.how == "extrapolated"
    assert found.labels == pytest.approx((0.4 / 0.03) ** (1 / 0.6), rel=0.02)
    assert found.low <= found.labels <= found.high
    inside = curve(exact, images=10_000).labels_needed(0.87)
    assert inside.how == "interpolated"
    assert 5 < inside.labels < 10


def test_what_no_number_of_labels_brings_is_not_foreseeable():
    levels_off = 1 - (0.1 + 0.4 * LABELS**-1.0)
    assert curve(levels_off).labels_needed(0.95).how == "not foreseeable"
    slow = 1 - 0.5 * LABELS**-0.2  # 0.9 takes 3125
    assert curve(slow).labels_needed(0.9).how == "not foreseeable"
    two = curve([0.5, 0.7], labels=LABELS[:2])
    assert two.law is None
    assert two.labels_needed(0.9).how == "not foreseeable"
    assert two.labels_needed(0.6).how == "interpolated"
    assert two.gain(1, 1) is None


def test_a_curve_without_a_mistake_needs_the_fewest_labels():
    perfect = curve(np.ones(5))
    assert perfect.labels_needed(0.999) == ("measured", 1, 1, 1)
    assert perfect.gain(10, 10) == (0, 0, 0)


def test_an_extrapolation_never_lies_below_what_was_measured_without_success():
    found = needed(LABELS, np.array([0.5, 0.7, 0.85, 0.87, 0.86]), PowerLaw(*map(np.array, (0.0, 0.5, 1.0))), 0.9)
    assert found == 20  # the law alone says 5


def test_the_interval_of_an_extrapolation_covers_the_truth():
    """Answers drawn from a known law; seeds differ in luck, images in how hard they are."""
    rng = np.random.default_rng(2)
    truth, inside = (0.35 / 0.05) ** (1 / 0.6), 0
    law = 0.03 + 0.35 * LABELS**-0.6
    levels = np.quantile(0.7 * rng.random(100_000) + 0.3 * rng.random(100_000), law)
    for trial in range(40):
        luck, hard = rng.normal(0, 0.01, (1, 4, 1)), 0.7 * rng.random(500)
        correct = hard + 0.3 * rng.random((5, 4, 500)) > levels[:, None, None] + luck
        options = {"confidence": 0.95, "resamples": 100, "seed": trial}
        found = LearningCurve((1, 2, 5, 10, 20), correct, **options).labels_needed(0.92)
        inside += found.low <= truth <= found.high
    assert inside / 40 >= 0.85


def points(name: str, accuracies: dict[int | None, list[float]], images: int = 1000) -> list[dict]:
    return [
        {
            "strategy": name,
            "labels": count,
            "seed": seed,
            "failed": None,
            "val": value,
            "images": images,
            "wrong": list(range(round(images * (1 - value)))),
        }
        for count, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def summarised(found: dict[str, list[dict]], **more) -> dict:
    options = {
        "families": dict.fromkeys(found, "fine-tuning"),
        "params": EvaluateParams(resamples=200),
        "seed": 0,
        "seeds": [0, 1],
        "labels": [1, 2, 5, 10, 20],
        "now": 10,
        "goal": None,
    }
    return summary(found, **{**options, **more})


RISING = {1: [0.5, 0.52], 2: [0.65, 0.64], 5: [0.8, 0.79], 10: [0.87, 0.86], 20: [0.91, 0.92]}


def test_the_answers_in_words():
    found = summarised({"tune": points("tune", RISING), "still": points("still", {None: [0.7, 0.72]})}, goal=0.85)
    tune, still = found["strategies"]
    assert tune["sentence"].startswith("tune reaches 85% between 5 and 10 labels per class: with about ")
    assert "Going from 10 to 20 labels per class brings about +" in tune["sentence"]
    assert still["sentence"].startswith("still uses no target label: 71.0% (")
    assert (tune["needed"]["how"], still["needed"], still["fit"]) == ("interpolated", None, None)
    assert [point["accuracy"] for point in tune["points"]] == pytest.approx([0.51, 0.645, 0.795, 0.865, 0.915])
    assert "2 seeds" in found["band"]
    assert jsonfile.dumps(found) == jsonfile.dumps(summarised(
        {"tune": points("tune", RISING), "still": points("still", {None: [0.7, 0.72]})}, goal=0.85
    ))  # fmt: skip


def test_the_default_goal_halves_the_errors_of_now():
    found = summarised({"tune": points("tune", RISING)})
    assert found["goal"] == pytest.approx((1 + 0.865) / 2, abs=1e-3)
    assert found["goal_is"] == "half the errors of tune at 10 labels per class"
    words = found["strategies"][0]["sentence"]
    assert "extrapolated, as the most measured is 20" in words
    assert "more than now" in words


def test_one_seed_says_what_its_band_lacks():
    found = summarised({"tune": points("tune", {count: values[:1] for count, values in RISING.items()})}, seeds=[0])
    assert "there is one seed" in found["band"]


def test_no_number_of_labels_with_every_seed_is_an_error_that_names_the_first_failure():
    own = points("tune", {1: [0.5, 0.52], 2: [0.65, 0.64]})
    for index in (1, 2):  # one seed of each
        own[index] = {**own[index], "failed": "the training diverged"}
    with pytest.raises(GraftError, match=r"no curve; .*: tune with 1 label per class, seed 1: the training diverged"):
        summarised({"tune": own})


def test_a_number_of_labels_counts_only_where_no_seed_failed():
    own = points("tune", RISING)
    own[0] = {"strategy": "tune", "labels": 1, "seed": 0, "failed": "the training diverged"}
    row = summarised({"tune": own})["strategies"][0]
    assert [point["labels"] for point in row["points"]] == [2, 5, 10, 20]
    assert row["failed"] == [{"labels": 1, "seed": 0, "reason": "the training diverged"}]
    assert "With 1 label per class, tune failed (seed 0): the training diverged." in row["sentence"]


def test_all_right_from_the_first_label_on():
    found = summarised({"tune": points("tune", {count: [1.0, 1.0] for count in RISING})})
    assert found["strategies"][0]["sentence"].startswith("tune reaches 99.9% with 1 label per class already")

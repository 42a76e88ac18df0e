"""The whole check: it keeps its level on windows that overlap, finds what has changed, and says by which test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from components.errors import DataError, ParamsError
from components.monitoring.drift import TESTS, Sample, Verdict, compare


def drawn(
    random: np.random.Generator, count: int, *, width: int = 8, shift: float = 0.0, shares: tuple = (0.25,) * 4
) -> Sample:
    """Features that crowd about their class, as a backbone's do."""
    label = random.choice(len(shares), count, p=shares)
    features = np.eye(len(shares), width)[label] * 2 + random.normal(size=(count, width))
    features[:, -1] += shift
    return Sample(features.astype(np.float32), label, random.beta(5, 1, count).astype(np.float32))


def windows(sample: Sample, *sizes: int) -> dict[int, Sample]:
    return {size: Sample(*(values[-size:] for values in sample)) for size in sizes}


def found(verdict: Verdict) -> set[tuple[str, int]]:
    return {(test.name, test.window) for test in verdict.tests if test.drifted}


def test_without_drift_alpha_of_the_checks_find_some():
    random = np.random.default_rng(0)
    checks, alpha = 120, 0.1
    alarms = sum(
        compare(
            drawn(random, 60), windows(drawn(random, 40), 20, 30, 40), alpha=alpha, permutations=119, seed=seed
        ).drift
        for seed in range(checks)
    )
    low, high = stats.binom.interval(0.999, checks, alpha)
    # Without a correction, twelve tests find some in half of the checks.
    assert low <= alarms <= high


def test_a_shift_of_the_features_is_found_in_both_windows_and_in_neither_answer():
    random = np.random.default_rng(1)
    verdict = compare(
        drawn(random, 300), windows(drawn(random, 200, shift=0.8), 60, 200), alpha=0.01, permutations=999, seed=0
    )
    assert verdict.drift
    assert found(verdict) == {(name, size) for name in ("features", "classifier") for size in (60, 200)}
    largest = {test.name: test for test in verdict.tests if test.window == 200}
    # 0.8 standard deviations apart: the best classifier has an area of Phi(0.8 / sqrt 2).
    assert largest["classifier"].effect == pytest.approx(stats.norm.cdf(0.8 / np.sqrt(2)), abs=0.06)


def test_drift_that_began_lately_is_found_in_the_short_window():
    random = np.random.default_rng(2)
    stream = Sample(*map(np.concatenate, zip(drawn(random, 360), drawn(random, 40, shift=1.0), strict=True)))
    verdict = compare(drawn(random, 300), windows(stream, 40, 400), alpha=0.01, permutations=799, seed=0)
    assert ("classifier", 40) in found(verdict)
    assert ("features", 400) not in found(verdict)


def test_another_mix_of_classes_is_found_by_the_answers():
    random = np.random.default_rng(3)
    verdict = compare(
        drawn(random, 300), windows(drawn(random, 200, shares=(0.5, 0.2, 0.2, 0.1)), 200),
        alpha=0.01, permutations=999, seed=0,
    )  # fmt: skip
    assert ("classes", 200) in found(verdict)
    effect = next(test.effect for test in verdict.tests if test.name == "classes")
    assert effect == pytest.approx(0.25, abs=0.08)


def test_lower_confidence_alone_is_found_by_the_confidence_alone():
    random = np.random.default_rng(4)
    recent = drawn(random, 100)
    recent = recent._replace(confidence=random.beta(2, 1, 100).astype(np.float32))
    verdict = compare(drawn(random, 300), {100: recent}, alpha=0.01, permutations=999, seed=0)
    assert found(verdict) == {("confidence", 100)}


def test_the_images_that_moved_have_the_highest_scores():
    random = np.random.default_rng(5)
    recent = drawn(random, 100, width=16)
    recent.features[70:] += 2.0
    verdict = compare(drawn(random, 300, width=16), windows(recent, 50, 100), alpha=0.01, permutations=799, seed=0)
    assert verdict.scores.shape == (100,)
    assert set(np.argsort(-verdict.scores)[:25]) <= set(range(70, 100))


def test_same_seed_same_verdict_and_the_order_of_the_windows_does_not_matter():
    random = np.random.default_rng(6)
    reference, stream = drawn(random, 100), windows(drawn(random, 50), 50, 20)
    first, again, other = (
        compare(reference, dict(sorted(stream.items(), reverse=turned)), alpha=0.05, permutations=199, seed=seed)
        for turned, seed in ((False, 0), (True, 0), (False, 1))
    )
    assert first.tests == again.tests
    assert first.tests != other.tests
    assert [(test.window, test.name) for test in first.tests] == [(size, name) for size in (20, 50) for name in TESTS]
    assert all(1 / 200 <= test.p <= test.p_adjusted <= 1 for test in first.tests)


def test_what_never_varies_is_no_drift():
    reference = Sample(np.full((60, 5), 0.3, np.float32), np.zeros(60, int), np.full(60, 0.7, np.float32))
    verdict = compare(reference, windows(reference, 20, 30), alpha=0.05, permutations=200, seed=0)
    assert not verdict.drift
    assert {test.p for test in verdict.tests} == {1.0}
    assert {test.effect for test in verdict.tests} == {0.0, 0.5}


def test_a_feature_that_used_to_be_constant_is_drift():
    random = np.random.default_rng(7)
    reference, recent = drawn(random, 200), drawn(random, 40)
    reference.features[:, 5], recent.features[:, 5] = 0.0, np.arange(40) % 2
    assert ("classifier", 40) in found(compare(reference, {40: recent}, alpha=0.01, permutations=499, seed=0))


def test_too_few_permutations_to_find_anything_are_refused():
    sample = drawn(np.random.default_rng(0), 60)
    with pytest.raises(ParamsError, match=r"monitor.permutations is 798, .* 8 tests .* 0.01 need at least 799"):
        compare(sample, windows(sample, 20, 40), alpha=0.01, permutations=798, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"features": np.full((20, 8), np.nan, np.float32)},
            "the window of 20 has 20 images whose features are no fin",
        ),
        (
            {"confidence": np.array([0.5] * 19 + [np.inf])},
            "the window of 20 has 1 images whose confidence are no finite",
        ),
        ({"features": np.zeros((20, 7), np.float32)}, "the window of 20 has 7 features, but the reference has 8"),
        ({"features": np.zeros((19, 8), np.float32)}, "the window of 20 has 20 labels, but features .19, 8."),
        ({"features": np.zeros((20, 8), np.float32)}, "the window of 20 images is not the end of that of 40"),
        ({name: np.zeros((1, 8) if name == "features" else 1) for name in Sample._fields}, "has 1 images, but a comp"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(change, message):
    random = np.random.default_rng(0)
    stream = windows(drawn(random, 40), 20, 40)
    stream[20] = stream[20]._replace(**change)
    with pytest.raises(DataError, match=message):
        compare(drawn(random, 50), stream, alpha=0.1, permutations=100, seed=0)


def test_no_window_is_refused():
    with pytest.raises(DataError, match="no window"):
        compare(drawn(np.random.default_rng(0), 50), {}, alpha=0.1, permutations=100, seed=0)

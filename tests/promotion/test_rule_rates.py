"""How often the rule is wrong, over many sets of test images of which the truth is known."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest

from components.evaluation.paired import from_counts
from components.promotion.evidence import Difference
from components.promotion.rule import decide
from evidence_support import evidence, limits


def _promotions(better: float, share: float, images: int, repeats: int) -> float:
    """How often a challenger is promoted that is right alone on `share` + `better` of all images and wrong alone on
    `share`, over so many sets of test images."""
    drawn = np.random.default_rng(1).multinomial(images, [share + better, share, 1 - 2 * share - better], size=repeats)
    decided: dict[tuple[int, int], bool] = {}
    for ahead, behind in set(map(tuple, drawn[:, :2].tolist())):
        lead = from_counts(ahead, behind, images, confidence=0.95)
        decided[ahead, behind] = decide(evidence(lead=lead, images=images), limits()).promoted
    return float(np.mean([decided[ahead, behind] for ahead, behind in drawn[:, :2].tolist()]))


@pytest.mark.parametrize("share", [0.004, 0.02, 0.06])
def test_of_two_equal_models_the_challenger_is_promoted_at_most_once_in_forty(share):
    """Over 4,000 sets of 752 test images, from models that hardly differ to models that differ on every eighth."""
    assert _promotions(0.0, share, 752, 4000) <= 0.025 + 3 * (0.025 * 0.975 / 4000) ** 0.5


def test_a_challenger_that_is_three_points_better_is_promoted_five_times_in_six():
    assert _promotions(0.03, 0.02, 752, 1000) > 5 / 6


def test_of_two_equal_models_none_is_kept_out_by_a_class_or_slice_more_often_than_once_in_twenty():
    """30 parts of 25 images each at once: without the correction for their number it would happen all the time."""
    rng = np.random.default_rng(2)
    interval = cache(partial(from_counts, images=25, confidence=0.95))
    kept = {30: 0, 1: 0}
    for _ in range(200):
        one, other = rng.random((2, 30, 25)) < 0.8
        counts = list(zip((one & ~other).sum(1).tolist(), (other & ~one).sum(1).tolist(), strict=True))
        for comparisons in kept:
            parts = tuple(Difference("1", 25, 0.8, 0.8, interval(*pair, comparisons=comparisons)) for pair in counts)
            kept[comparisons] += not decide(evidence(classes=parts), limits()).promoted
    assert kept[30] <= 0.05 * 200
    assert kept[1] > 0.2 * 200

"""The rule: the first model bootstraps, after that only a lead that is clear changes what is in production."""

from __future__ import annotations

import pytest

from components.evaluation.intervals import Interval
from components.tracking.promotion import decide


def test_the_first_model_is_promoted():
    decision = decide(None, min_gain=0.5)
    assert decision.promoted
    assert "there was none to beat" in decision.reason


@pytest.mark.parametrize(
    ("gain", "min_gain", "promoted"),
    [
        (Interval(0.03, 0.01, 0.05), 0.0, True),
        (Interval(0.03, -0.01, 0.07), 0.0, False),  # could be chance
        (Interval(0.00, 0.00, 0.00), 0.0, False),  # the same answers
        (Interval(-0.03, -0.05, -0.01), 0.0, False),  # worse
        (Interval(0.03, 0.01, 0.05), 0.02, False),  # better, but not by enough
        (Interval(0.05, 0.03, 0.07), 0.02, True),
        (Interval(0.03, 0.02, 0.04), 0.02, False),  # the bound itself is not above it
        (Interval(-0.01, -0.02, 0.01), -0.05, True),  # a loss that was allowed for
    ],
)
def test_only_an_interval_above_the_minimum_promotes(gain, min_gain, promoted):
    assert decide(gain, min_gain=min_gain).promoted is promoted


@pytest.mark.parametrize(
    ("gain", "promoted"),
    [
        (Interval(0.0, 0.0, 0.0), True),  # the same answers
        (Interval(-0.01, -0.02, 0.01), True),  # by a precision that the gates admitted
        (Interval(-0.02, -0.03, -0.01), False),  # clearly worse all the same
    ],
)
def test_the_champion_s_own_model_with_further_routes_takes_its_place(gain, promoted):
    decision = decide(gain, min_gain=0.0, new_routes=["int8@cpu", "fp32@openvino"])
    assert decision.promoted is promoted
    if promoted:
        assert decision.reason.startswith("the champion's own model, which now also runs as int8@cpu, fp32@openvino; ")
        assert "points on the same test images" in decision.reason


def test_the_reason_holds_the_numbers():
    better = decide(Interval(0.031, 0.012, 0.05), min_gain=0.0).reason
    assert better.startswith("better than the champion")
    assert "+3.10 points" in better
    assert "+1.20 to +5.00" in better
    kept = decide(Interval(-0.01, -0.03, 0.01), min_gain=0.02).reason
    assert kept.startswith("kept the champion")
    assert "-1.00 points" in kept
    assert kept.endswith("not clearly above 2 points")  # the lead's unit

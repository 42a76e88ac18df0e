"""Drift starts retrainings, but not in a loop."""

from __future__ import annotations

import pytest

from components import jsonfile, paths
from components.monitoring import budget
from components.params import MonitorParams

H, D = 3600.0, 86400.0
NOW = 1_800_000_000.0
LIMITS = MonitorParams(cool_down_h=24, max_retrains=3, budget_days=30)


def test_without_earlier_ones_a_retraining_may_start():
    assert budget.allowed(NOW, [], LIMITS) == (
        True,
        "drift has started 0 of the 3 retrainings that it may in 30 days",
    )


def test_the_cool_down_is_counted_from_the_last_one():
    may, reason = budget.allowed(NOW, [NOW - 9 * D, NOW - 6 * H], LIMITS)
    assert not may
    assert reason == (
        "the last retraining that drift has started was 6.0 h ago: the next may start in 18.0 h "
        "(monitor.cool_down_h is 24)"
    )
    assert not budget.allowed(NOW, [NOW - 24 * H + 1], LIMITS)[0]
    assert budget.allowed(NOW, [NOW - 24 * H], LIMITS)[0]


def test_the_budget_is_counted_over_its_days():
    past = [NOW - 29 * D, NOW - 12 * D, NOW - 2 * D]
    may, reason = budget.allowed(NOW, past, LIMITS)
    assert not may
    assert reason == (
        "drift has started 3 retrainings in the last 30 days, and monitor.max_retrains is 3: the next may start in "
        "1.0 days"
    )
    assert budget.allowed(NOW + 1 * D, past, LIMITS)[0]
    assert not budget.allowed(NOW + 1 * D - 1, past, LIMITS)[0]
    # After the limit was lowered, more than one has to grow old: the 29th and the 12th day give way to the 2nd.
    assert budget.allowed(NOW, past, MonitorParams(max_retrains=1))[1].endswith("may start in 28.0 days")


def test_a_budget_of_nothing_starts_nothing():
    assert budget.allowed(NOW, [], MonitorParams(max_retrains=0))[0] is False


def test_drift_that_does_not_go_away_starts_no_more_than_the_budget_allows():
    starts: list[float] = []
    for hour in range(24 * 120):
        now = NOW + hour * H
        if budget.allowed(now, starts, LIMITS)[0]:
            starts.append(now)
    days = [(start - NOW) / D for start in starts]
    assert days == [0, 1, 2, 30, 31, 32, 60, 61, 62, 90, 91, 92]


def test_a_clock_that_was_set_back_neither_blocks_for_ever_nor_opens_the_budget():
    year = 365 * D
    # The clock was a year ahead when drift started a retraining, and was then put right.
    lines = [
        {"kind": "retrain", "time": budget.stamp(NOW + year)},
        {"kind": "check", "time": budget.stamp(NOW + year + H)},
    ]
    may, reason = budget.allowed(NOW, budget.past(lines, NOW), LIMITS)
    assert not may
    assert reason == (
        "the last retraining that drift has started was 0.0 h ago: the next may start in 24.0 h "
        "(monitor.cool_down_h is 24); the clock was set back, so 1 retraining of the future counts as now"
    )
    # From the first line that the right clock wrote, the cool-down runs.
    lines.append({"kind": "check", "time": budget.stamp(NOW)})
    assert not budget.allowed(NOW + 23 * H, budget.past(lines, NOW + 23 * H), LIMITS)[0]
    may, reason = budget.allowed(NOW + 25 * H, budget.past(lines, NOW + 25 * H), LIMITS)
    assert may
    assert reason == "drift has started 1 of the 3 retrainings that it may in 30 days"

    # A clock that was wrong only for a while: a check of 1970 behind it does not make the retraining an old one.
    lines = [{"kind": "retrain", "time": budget.stamp(NOW)}, {"kind": "check", "time": "1970-01-01T00:05:00Z"}]
    assert not budget.allowed(NOW + H, budget.past(lines, NOW + H), LIMITS)[0]


def test_a_start_is_kept_with_the_images_that_caused_it(tmp_path):
    jsonfile.write(tmp_path / paths.MONITOR / "last.json", {"bundle": "b", "observations": "o"})
    budget.note(tmp_path, "there was drift", now=NOW)
    budget.note(tmp_path, "and again", observations="other", now=NOW + 1)
    first, second = budget.history(tmp_path)
    assert first == {
        "kind": "retrain", "time": "2027-01-15T08:00:00Z", "bundle": "b", "observations": "o",
        "reason": "there was drift",
    }  # fmt: skip
    assert second["observations"] == "other"
    assert budget.past([first, {"kind": "check", "time": first["time"]}, second], NOW + 2) == [NOW, NOW + 1]


def test_times_are_read_as_they_are_written_and_without_a_zone_they_are_utc():
    assert budget.seconds(budget.stamp(NOW)) == NOW
    assert budget.seconds("2027-01-15T08:00:00") == NOW
    assert budget.seconds("2027-01-15T09:00:00+01:00") == NOW
    with pytest.raises(ValueError):
        budget.seconds("noon")

"""Drift starts retrainings, but not in a loop, and not because somebody has set the clock."""

from __future__ import annotations

import pytest

from components import jsonfile, paths
from components.monitoring import budget
from components.monitoring.budget import Moment
from components.params import MonitorParams

H, D = 3600.0, 86400.0
NOW = 1_800_000_000.0
LIMITS = MonitorParams(cool_down_h=24, max_retrains=3, budget_days=30)


def line(kind: str, moment: Moment) -> dict:
    return {"kind": kind, **moment.to_dict()}


def test_without_earlier_ones_a_retraining_may_start():
    assert budget.allowed([], LIMITS) == (
        True,
        "drift has started 0 of the 3 retrainings that it may in 30 days",
    )


def test_the_cool_down_is_counted_from_the_last_one():
    may, reason = budget.allowed([9 * D, 6 * H], LIMITS)
    assert not may
    assert reason == (
        "the last retraining that drift has started was 6.0 h ago: the next may start in 18.0 h "
        "(monitor.cool_down_h is 24)"
    )
    assert not budget.allowed([24 * H - 1], LIMITS)[0]
    assert budget.allowed([24 * H], LIMITS)[0]


def test_the_budget_is_counted_over_its_days():
    ages = [29 * D, 12 * D, 2 * D]
    may, reason = budget.allowed(ages, LIMITS)
    assert not may
    assert reason == (
        "drift has started 3 retrainings in the last 30 days, and monitor.max_retrains is 3: the next may start in "
        "1.0 days"
    )
    assert budget.allowed([age + D for age in ages], LIMITS)[0]
    assert not budget.allowed([age + D - 1 for age in ages], LIMITS)[0]
    # After the limit was lowered, more than one has to grow old: the 29th and the 12th day give way to the 2nd.
    assert budget.allowed(ages, MonitorParams(max_retrains=1))[1].endswith("may start in 28.0 days")


def test_a_budget_of_nothing_starts_nothing():
    assert budget.allowed([], MonitorParams(max_retrains=0))[0] is False


def test_drift_that_does_not_go_away_starts_no_more_than_the_budget_allows():
    starts: list[float] = []
    for hour in range(24 * 120):
        now = NOW + hour * H
        if budget.allowed([now - start for start in starts], LIMITS)[0]:
            starts.append(now)
    days = [(start - NOW) / D for start in starts]
    assert days == [0, 1, 2, 30, 31, 32, 60, 61, 62, 90, 91, 92]


@pytest.mark.parametrize("wrong", [365 * D, -365 * D])
def test_a_clock_that_is_set_while_the_system_is_up_changes_nothing(wrong):
    """Wrong from an hour before the retraining to an hour behind it, or from there on: hours passed, nothing else."""

    def at(hours: float, off: float = 0.0) -> Moment:
        return Moment(NOW + hours * H + off, "this start", 1000 + hours * H)

    checks = [line("check", at(hour)) for hour in range(3)]
    lines = [*checks, line("check", at(3, wrong)), line("retrain", at(4, wrong)), line("check", at(5, wrong))]
    for off in (0.0, wrong):
        assert budget.ages(lines, at(9, off)) == [5 * H]
        assert budget.ages([*lines, line("check", at(10, off))], at(40)) == [36 * H]
    assert budget.ages([line("retrain", at(0))], at(1, wrong)) == [H]


def test_the_clock_counts_where_the_system_was_started_anew():
    lines = [line("check", Moment(NOW, "first", 50 * D)), line("retrain", Moment(NOW + H, "first", 50 * D + H))]
    assert budget.ages(lines, Moment(NOW + 3 * H, "second", 60.0)) == [2 * H]
    # It came up in 1970, and was set right after a check.
    lines.append(line("check", Moment(300.0, "second", 60.0)))
    assert budget.ages(lines, Moment(NOW + 4 * H, "second", 2 * H + 60)) == [2 * H]


def test_where_only_the_clock_is_known_a_wrong_one_neither_blocks_for_ever_nor_opens_the_budget():
    # A year ahead when drift started a retraining, and then put right: the cool-down runs from then on.
    lines = [line("retrain", Moment(NOW + 365 * D)), line("check", Moment(NOW + 365 * D + H))]
    assert budget.ages(lines, Moment(NOW)) == [H]
    lines.append(line("check", Moment(NOW)))
    assert budget.ages(lines, Moment(NOW + 25 * H)) == [26 * H]
    # A check of 1970 behind it does not make a retraining an old one.
    lines = [line("retrain", Moment(NOW)), line("check", Moment(300.0))]
    assert budget.ages(lines, Moment(NOW + H)) == [H]


def test_the_system_says_which_start_this_is_and_how_long_ago_it_was():
    first, second = budget.present(), budget.present()
    assert first.boot == second.boot
    assert 0 <= second.uptime_s - first.uptime_s < 5
    assert Moment.from_dict(first.to_dict()) == first._replace(time=float(int(first.time)))
    assert Moment.from_dict(Moment(NOW).to_dict()) == Moment(NOW)


def test_a_log_that_has_grown_too_large_forgets_the_oldest_checks_and_no_retraining(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "MOST_BYTES", 20_000)
    for number in range(1, 101):
        budget.append(tmp_path, {**line("check", Moment(NOW + number * D)), "number": number, "more": "x" * 400})
        if number % 40 == 1:
            budget.note(tmp_path, "drift", now=Moment(NOW + number * D))
        assert (tmp_path / budget.HISTORY).stat().st_size <= 20_000
    kept = budget.history(tmp_path)
    assert [entry["kind"] for entry in kept[:3]] == ["retrain", "retrain", "check"]
    checks = [entry["number"] for entry in kept if entry["kind"] == "check"]
    assert checks == list(range(checks[0], 101)) and 41 < checks[0] < 81
    assert budget.ages(kept, Moment(NOW + 101 * D)) == [20 * D, 60 * D, 100 * D]


def test_a_start_is_kept_with_the_images_that_caused_it(tmp_path):
    jsonfile.write(tmp_path / paths.MONITOR / "last.json", {"bundle": "b", "observations": "o"})
    budget.note(tmp_path, "there was drift", now=Moment(NOW, "this start", 7.5))
    budget.note(tmp_path, "and again", observations="other", now=Moment(NOW + 1))
    first, second = budget.history(tmp_path)
    assert first == {
        "kind": "retrain", "time": "2027-01-15T08:00:00Z", "boot": "this start", "uptime_s": 7.5, "bundle": "b",
        "observations": "o", "reason": "there was drift",
    }  # fmt: skip
    assert second["observations"] == "other"
    assert budget.ages([first, line("check", Moment(NOW)), second], Moment(NOW + 2)) == [1, 2]


def test_times_are_read_as_they_are_written_and_without_a_zone_they_are_utc():
    assert budget.seconds(budget.stamp(NOW)) == NOW
    assert budget.seconds("2027-01-15T08:00:00") == NOW
    assert budget.seconds("2027-01-15T09:00:00+01:00") == NOW
    with pytest.raises(ValueError):
        budget.seconds("noon")

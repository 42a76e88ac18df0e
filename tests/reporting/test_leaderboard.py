"""The leaderboard's rows, and its table on a terminal: nothing cut off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from components.reporting import leaderboard
from components.strategies import catalogue


def printed(rows: list[dict], failed: tuple[dict, ...] = (), width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    console.print(leaderboard.table(rows, failed))
    return console.export_text().splitlines()


def slow(rows: list[dict]) -> list[dict]:
    return [{**row, "train_time_s": 12345.6} for row in rows]


def test_rows_join_results_times_speeds_and_sizes(make):
    evaluation = make(["fine_tune", "dan"]).evaluation
    timings = {"fine_tune": {"train_time_s": 12.3}, "dan": {"train_time_s": 45.6}}
    rows = leaderboard.rows(
        evaluation, timings, {"dan": {"latency_ms": 3.0, "size_mib": 1.5}}, {"dan": 9.0, "fine_tune": 1.25}
    )
    assert [row["strategy"] for row in rows] == ["fine_tune", "dan"]
    assert [row["chosen"] for row in rows] == [True, False]
    assert [row["latency_ms"] for row in rows] == [None, 3.0]
    assert [row["size_mib"] for row in rows] == [1.25, 1.5]
    assert [row["train_time_s"] for row in rows] == [12.3, 45.6]
    assert rows[0]["test"] == evaluation["strategies"][0]["test"]
    for key in ("letters", "tied_with_first", "worst_class", "family"):
        assert rows[1][key] == evaluation["strategies"][1][key]


@pytest.mark.parametrize("best", [0.8, 1.0])
@pytest.mark.parametrize("names", [list(catalogue.STRATEGIES), ["fine_tune_gently", "dan"]], ids=len)
def test_the_table_fits_a_hundred_columns_with_nothing_cut_off(make, names, best):
    lines = printed(slow(make(names, best=best).leaderboard))
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert "…" not in text
    for name in names:
        assert name in text
    for part in (f"{best:.1%}", "12346 s", "interval", "ECE", "0.021", "unlabelled"):
        assert part in text, part


def test_a_long_name_is_folded_and_not_cut_off(make):
    lines = printed(slow(make(["fine_tune_of_the_whole_body_at_two_rates", "dan"], best=1.0).leaderboard))
    assert max(map(len, lines)) <= 100
    assert "…" not in "\n".join(lines)
    assert "two_rates" in "".join(line[1:].split("│")[0].strip() for line in lines)


def test_the_caption_says_what_the_marks_mean(make):
    rows = make(["fine_tune", "dan", "dann"]).leaderboard
    rows[1]["negative_transfer"] = True
    rows[2]["seeds"] = 1
    text = " ".join(" ".join(printed(rows, ({"strategy": "lora", "reason": "seed 1: the loss was [nan]"},))).split())
    assert "=: no real lead of fine_tune over it" in text
    assert "worse than using no target image at all: dan " in text
    assert "no spread between trainings is known: dann" in text
    assert "failed: lora: seed 1: the loss was [nan]" in text
    cells = {line.split("│")[1].strip(): line.split("│")[6].strip() for line in printed(rows) if line.startswith("│")}
    assert cells == {"fine_tune": "", "dan (harm)": "=", "dann": "="}


def test_without_marks_there_is_no_caption(make):
    rows = [{**row, "tied_with_first": row["chosen"]} for row in make(["fine_tune", "dan"]).leaderboard]
    assert printed(rows)[-1].startswith("└")

"""The page and the table: nothing from outside, nothing unescaped, nothing cut off."""

from __future__ import annotations

import copy
import io
import re

import jinja2
import pytest
from rich.console import Console

from components.evaluation import leaderboard
from components.evaluation.report import render
from components.strategies import catalogue

NASTY = "<b>x</b>"


def _score(accuracy: float) -> dict:
    return {
        "accuracy": accuracy,
        "low": max(0.0, accuracy - 0.02),
        "high": min(1.0, accuracy + 0.02),
        "macro_f1": 0.8,
        "ece": 0.05,
        "log_loss": 0.3,
    }


def _evaluation(names: list[str] | None = None, accuracy: float = 0.8) -> dict:
    names = names or list(catalogue.STRATEGIES)
    return {
        "chosen": names[0],
        "verdict": f"{names[0]} was chosen & <won>.",
        "selected_by": "val.accuracy",
        "confidence": 0.95,
        "classes": [NASTY, "dog"],
        "images": {"val": 40, "test": 90},
        "strategies": [
            {
                "strategy": name,
                "family": "fine-tuning",
                "needs": ["target_labels", "source", "unlabelled"],
                "val": _score(accuracy),
                "test": _score(accuracy),
                "teacher": None,
                "seeds": 3,
                "chosen_by": "val",
                "oracle": {"seed": 0, "is_chosen": True, "test_accuracy": accuracy},
                "other_tasks": {},
                "unseen": None,
                "negative_transfer": None,
                "parameters": 123456,
                "weights_sha256": "ab",
                "precision_per_class": [0.8, 0.9],
                "recall_per_class": [0.8, 0.9],
                "confusion": [[40, 10], [0, 40]],
            }
            for name in names
        ],
        "leads": [
            {"strategy": names[0], "over": name, "difference": 0.1, "low": 0.05, "high": 0.15, "real": True}
            for name in names[1:]
        ],
    }


def _timings(evaluation: dict, seconds: float = 12.3) -> dict:
    return {row["strategy"]: {"train_time_s": seconds} for row in evaluation["strategies"]}


BENCHMARK = {
    "strategy": "dan",
    "machine": "2 cores of <a CPU>",
    "measurements": [
        {"precision": "fp32", "provider": "cpu", "batch_size": 1, "latency_ms": 1.5, "latency_p95_ms": 2.0,
         "images_per_s": 2500.0, "load_s": 0.1, "size_mib": 1.1}
    ],
}  # fmt: skip
BUNDLE = {
    "parity": {"fp32": {"images": 40, "agreement": 1.0, "max_logit_difference": 1e-5, "near_ties": []}},
    "lineage": {"git_commit": None, "data_sha256": "cd", "seed": 0, "versions": {"python": "3.12"}},
}
PROBLEMS = {"target": {"unreadable": ["a"], "duplicates": [], "contradictions": [["b", "c"]]}}


def _page(evaluation: dict, **replaced) -> str:
    parts = {"benchmark": BENCHMARK, "bundle": BUNDLE, "problems": PROBLEMS, **replaced}
    return render(evaluation, leaderboard.rows(evaluation, _timings(evaluation)), **parts)


def test_the_page_needs_nothing_from_outside():
    page = _page(_evaluation())
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert not re.findall(r"https?://|//cdn|<script|<link|<img|@import|url\(", page)


def test_the_page_shows_the_results():
    page = _page(_evaluation())
    assert all(f"<td>{name}</td>" in page for name in catalogue.STRATEGIES)
    for text in ("80.0", "78.0 – 82.0", "12.3 s", "123.5k", "2.5k", "+10.0", "1 unreadable files", "100.00 %"):
        assert text in page, text
    assert "not in a git repository" in page


def test_names_are_escaped():
    page = _page(_evaluation())
    assert NASTY not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<won>" not in page
    assert "<a CPU>" not in page


def test_a_missing_name_is_an_error_and_not_a_gap():
    evaluation = _evaluation()
    rows = leaderboard.rows(evaluation, _timings(evaluation))
    del evaluation["verdict"]
    with pytest.raises(jinja2.UndefinedError):
        render(evaluation, rows, benchmark=BENCHMARK, bundle=BUNDLE, problems=PROBLEMS)


@pytest.mark.parametrize("accuracy", [0.0, 0.5, 0.999, 1.0])
def test_every_mark_lies_on_the_axis(accuracy):
    evaluation = _evaluation(accuracy=accuracy)
    for row in evaluation["strategies"]:
        if accuracy == 1.0:  # no doubt left either: what an easy data set gives
            row["test"]["low"] = 1.0
    page = _page(evaluation)
    marks = [float(value) for value in re.findall(r'(?:x1|x2|cx)="([-\d.e]+)"', page)]
    assert len(marks) >= 3 * len(evaluation["strategies"])
    assert all(180 <= mark <= 180 + 560 + 1e-6 for mark in marks)


def test_one_strategy_alone_has_a_page():
    page = _page(_evaluation(["dan"]))
    assert "Which leads are real?" not in page


def test_rows_join_results_and_times():
    evaluation = _evaluation()
    rows = leaderboard.rows(evaluation, _timings(evaluation))
    assert [row["strategy"] for row in rows] == list(catalogue.STRATEGIES)
    assert [row["chosen"] for row in rows] == [True] + [False] * (len(rows) - 1)
    assert rows[0]["train_time_s"] == 12.3
    assert rows[0]["test"] == evaluation["strategies"][0]["test"]


def _printed(rows: list[dict], width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    console.print(leaderboard.table(rows))
    return console.export_text().splitlines()


@pytest.mark.parametrize("accuracy", [0.8, 1.0])
@pytest.mark.parametrize("names", [list(catalogue.STRATEGIES), ["fine_tune_gently", "dan"]], ids=len)
def test_the_table_fits_a_hundred_columns_with_nothing_cut_off(names, accuracy):
    evaluation = _evaluation(names, accuracy)
    lines = _printed(leaderboard.rows(evaluation, _timings(evaluation, seconds=12345.6)))
    assert max(len(line) for line in lines) <= 100
    text = "\n".join(lines)
    assert "…" not in text
    for name in names:
        assert name in text
    for part in (f"{accuracy:.1%}", "12346 s", "interval", "ECE", "unlabelled"):
        assert part in text, part


def test_a_long_name_is_folded_and_not_cut_off():
    evaluation = _evaluation(["fine_tune_of_the_whole_body_at_two_rates", "dan"], 1.0)
    lines = _printed(leaderboard.rows(evaluation, _timings(evaluation, seconds=12345.6)))
    assert max(len(line) for line in lines) <= 100
    assert "…" not in "\n".join(lines)
    assert "two_rates" in "".join(line[1:].split("│")[0].strip() for line in lines)


def test_the_table_needs_no_key_beyond_those_of_the_rows():
    evaluation = _evaluation()
    rows = copy.deepcopy(leaderboard.rows(evaluation, _timings(evaluation)))
    assert len(_printed(rows)) > len(rows)

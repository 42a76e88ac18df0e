"""The page and the table where strategies are judged on recent images: only there, and with what cannot be known."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from components.evaluation.agreement import judge
from components.evaluation.predictions import Answers
from components.params import EvaluateParams
from components.reporting import leaderboard
from components.reporting.evidence import Evidence
from components.reporting.report import render

NAMES = ("dann", "dan", "cdan", "source_only", "mcc")
IMAGES = 60


def judged(evidence: Evidence, labelled: int = 0, flat: tuple[str, ...] = ("mcc",)) -> Evidence:
    """With recent images, which the first strategies answer best; `flat`: those that answer one class only."""
    rng = np.random.default_rng(0)
    truth = np.arange(IMAGES) % 10
    labels = np.where(np.arange(IMAGES) < labelled, truth, -1)
    answers = {}
    for place, name in enumerate(NAMES):
        logits = rng.normal(size=(2, IMAGES, 10))
        logits[:, np.arange(IMAGES), 0 if name in flat else truth] += 9.0 if name in flat else 5.0 - place
        answers[name] = Answers(logits, labels)
    found = judge(answers, dict.fromkeys(NAMES, (1.0, 1.0)), truth, EvaluateParams(resamples=100), 0)
    doubtful = [
        {"row": row, "path": f"data/raw/recent/{row}.png", "vote": "3", "confidence": 0.21 + 0.01 * row}
        for row in range(min(IMAGES - labelled, 16))
    ]
    recent = {"rows": list(range(IMAGES)), **found.to_dict(evidence.classes), "doubtful": doubtful}
    rows: list[dict] = [
        {**row, "recent": found.standings[row["strategy"]].to_dict(), "negative_transfer": None}
        for row in sorted(evidence.evaluation["strategies"], key=lambda row: found.rank(row["strategy"]))
    ]
    transfer = {"finding": "unknown", "sentence": "Whether transfer helps is unknown: from_scratch does not compete."}
    evaluation = {
        **evidence.evaluation, "strategies": rows, "recent": recent, "selected_by": "recent.agreement",
        "verdict": "dann was chosen on 60 recent images.", "transfer": {**evidence.evaluation["transfer"], **transfer},
    }  # fmt: skip
    names = [row["strategy"] for row in rows]
    board = leaderboard.rows(
        evaluation, {name: {"train_time_s": 12.3} for name in names}, evidence.benchmark["strategies"], {}
    )
    pixels = {**evidence.pixels, "recent": 255 - np.tile(evidence.pixels["target"], (2, 1, 1, 1))}
    return replace(evidence, evaluation=evaluation, leaderboard=board, pixels=pixels)


@pytest.fixture
def evidence(make) -> Evidence:
    return make(NAMES)


def section(page: str) -> str:
    start = page.index('<section id="recent">')
    return page[start : page.index("</section>", start)]


def test_the_section_says_how_each_was_judged(evidence):
    page = render(judged(evidence))
    shown = section(page)
    for words in ("60 images as they come in now", "none is labelled", "graft adapt --labels FILE", "collapsed",
                  "wrong together", "data/raw/recent/3.png", "As diverse as", "few classes only are left"):  # fmt: skip
        assert words in shown, words
    told = judged(evidence).evaluation["strategies"]
    assert told[-1]["strategy"] == "mcc" and told[-1]["recent"]["collapsed"]
    for row in told:
        assert f"<b>{100 * row['recent']['agreement']:.1f}</b>" in shown
    assert shown.count("<img ") == 16
    assert '<a href="#recent">Recent images</a>' in page
    assert "Adapted to recent images" in page and "does not compete" not in page
    assert "as the others vote" in page
    assert page.count('aria-sort="descending"') == 1
    assert "accuracy %" not in shown


def test_with_some_labels_there_is_an_accuracy_too(evidence):
    shown = section(render(judged(evidence, labelled=20)))
    assert "20 of them are labelled" in shown and "a label takes the vote" in shown
    assert "accuracy %, 20 labelled" in shown


def test_with_all_labels_nothing_is_left_to_doubt(evidence):
    page = render(judged(evidence, labelled=IMAGES))
    shown = section(page)
    assert "all of them are labelled" in shown and "answers rightly chooses" in shown
    assert "Label these first" not in shown and "wrong together" not in shown and "collapsed" not in shown


def test_where_all_have_collapsed_the_page_warns(evidence):
    shown = section(render(judged(evidence, flat=NAMES)))
    assert "all shut out" in shown and "or these are of few classes" in shown


def test_without_recent_images_the_page_says_nothing_of_them(evidence):
    page = render(evidence)
    assert "recent" not in page.lower().partition("<main")[2]


def test_the_table_on_a_terminal_has_a_column_and_says_who_is_shut_out(evidence):
    console = Console(width=100, file=io.StringIO(), record=True, color_system=None)
    console.print(leaderboard.table(judged(evidence).leaderboard))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert "agreement on recent images chooses" in lines[0]
    text = "\n".join(lines)
    assert "…" not in text and " recent " in text
    assert "so it is shut out: mcc" in text
    for row in judged(evidence).leaderboard:
        assert f"{row['recent']['agreement']:.1%}" in text

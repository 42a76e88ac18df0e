"""What `dvc metrics` and `dvc plots` read of the comparison."""

from __future__ import annotations

import csv

import pytest

from components import jsonfile, paths
from components.evaluation import plots
from tracked_support import evaluation, history


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stale = paths.PLOTS / "losses" / "of_an_earlier_run.csv"
    jsonfile.write_text(stale, "step,loss\n")
    plots.write(evaluation(), {"dan": history("dan"), "linear_probe": []})
    assert not stale.exists()
    return tmp_path


def _table(path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_numbers_are_the_chosen_one_s_as_it_answers_and_fit_a_terminal(written):
    found = jsonfile.read(paths.METRICS)
    assert found == {
        "chosen": "dan", "accuracy": 0.8, "macro_f1": 0.8, "worst_recall": 0.75, "log_loss": 0.4, "ece": 0.05,
    }  # fmt: skip
    cells = {**dict.fromkeys(found, "0.12345"), "chosen": "linear_probe"}
    line = "    ".join([str(paths.METRICS), *(cells[name].ljust(len(name)) for name in found)])  # as dvc prints it
    assert len(line) <= 100


def test_every_strategy_s_accuracy(written):
    found = _table(paths.PLOTS / "accuracy.csv")
    assert [(row["strategy"], float(row["accuracy"])) for row in found] == [("dan", 0.8), ("fine_tune", 0.5)]
    assert float(found[0]["low"]) == pytest.approx(0.7)
    assert jsonfile.read(paths.PLOTS / "accuracy.json") == {"dan": 0.8, "fine_tune": 0.5}


def test_the_confusion_matrix_is_counted_out(written):
    found = [(row["actual"], row["predicted"]) for row in _table(paths.PLOTS / "confusion.csv")]
    assert found == [("a", "a")] * 3 + [("a", "b")] + [("b", "b")] * 4


def test_reliability_is_that_of_the_calibrated_answers(written):
    assert _table(paths.PLOTS / "reliability.csv") == [{"confidence": "0.88", "accuracy": "0.875", "images": "8"}]


def test_losses_are_sums_of_terms_averaged_over_seeds(written):
    """At step 10: (0 + 0.1 + 0.5) and (1 + 0.1 + 0.5); at 20: 0.55 and 1.55. Validation is no term."""
    found = [(int(row["step"]), float(row["loss"])) for row in _table(paths.PLOTS / "losses" / "dan.csv")]
    assert found == [(10, pytest.approx(1.1)), (20, pytest.approx(1.05))]
    assert not (paths.PLOTS / "losses" / "linear_probe.csv").exists()


def test_class_names_with_commas_survive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plots.write({**evaluation(), "classes": ['salt, "fine"', "b"]}, {})
    assert _table(paths.PLOTS / "confusion.csv")[0]["actual"] == 'salt, "fine"'

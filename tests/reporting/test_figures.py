"""Pictures of one strategy and of all, whatever the classes are called."""

from __future__ import annotations

import io

import pytest
from matplotlib.figure import Figure

from components.reporting import figures
from tracked_support import FAILED, evaluation, history, row


def _axes(draw, *arguments):
    axes = Figure().add_subplot()
    draw(axes, *arguments)
    return axes


def _texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_counts_are_written_and_shaded_by_the_share_of_the_true_class():
    axes = _axes(figures.confusion, [[3, 1], [0, 8]], ["cat", "dog"])
    assert _texts(axes) == ["3", "1", "8"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("answer", "true class")
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_many_classes_are_not_labelled():
    count = figures.LABELLED_UP_TO + 1
    axes = _axes(figures.confusion, [[1] * count] * count, ["x"] * count)
    assert _texts(axes) == []
    assert "x" not in [label.get_text() for label in axes.get_yticklabels()]


def test_recall_stands_between_its_bounds():
    axes = _axes(figures.recalls, row("dan", 0.8)["per_class"])
    assert [bar.get_height() for bar in axes.patches] == [0.75, 1.0]
    (spread,) = axes.collections
    assert [[float(y) for _, y in segment] for segment in spread.get_segments()] == [[0.3, 0.95], [0.5, 1.0]]


def test_reliability_shows_both_temperatures_beside_the_diagonal():
    axes = _axes(figures.reliability, row("dan", 0.8)["reliability"])
    assert [points.get_offsets().tolist() for points in axes.collections] == [[[0.95, 0.875]], [[0.88, 0.875]]]
    assert axes.lines[0].get_xydata().tolist() == [[0.0, 0.0], [1.0, 1.0]]


def test_every_term_of_every_seed_is_a_line_and_validation_is_none():
    axes = _axes(figures.loss_terms, history("dan"))
    assert len(axes.lines) == 4  # two terms, two seeds
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["cross_entropy", "mmd"]
    assert axes.lines[0].get_xydata().tolist() == [[10.0, 0.1], [20.0, 0.05]]
    assert axes.get_yscale() == "log"
    negative = [{"seed": 0, "step": step, "lr": 0.1, "log_likelihood": -1.0} for step in (1, 2)]
    assert _axes(figures.loss_terms, negative).get_yscale() == "linear"


def test_a_solution_in_closed_form_says_that_it_had_no_steps():
    assert _texts(_axes(figures.loss_terms, [])) == ["solved in closed form: no steps"]


def test_accuracies_have_their_intervals_in_the_order_of_the_leaderboard():
    axes = figures.accuracies(evaluation()).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dan (chosen)", "fine_tune"]
    assert axes.lines[0].get_xdata() == pytest.approx([0.7, 0.9])
    assert (axes.lines[0].get_color(), axes.lines[2].get_color()) == (figures.BLUE, figures.GREY)  # tied or not
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("name", ["$_{$", "a$b$^$", "<b>"])
def test_any_name_can_be_drawn(name):
    """Folder names are not formulas."""
    entry = {**row(name, 0.8), "per_class": [{**row("", 0.8)["per_class"][0], "class_name": name}]}
    for figure in (figures.panels(entry, [name, "dög"], history("dan")), figures.losses(history(FAILED), name)):
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=30)
        assert stream.getvalue().startswith(b"\x89PNG")

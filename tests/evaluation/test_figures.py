"""The confusion matrix as a picture, whatever the classes are called."""

from __future__ import annotations

import io

import pytest

from components.evaluation.figures import LABELLED_UP_TO, confusion_figure


def _texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_counts_are_written_and_shaded_by_the_share_of_the_true_class():
    figure = confusion_figure([[3, 1], [0, 8]], ["cat", "dog"], "dan")
    axes = figure.axes[0]
    assert _texts(figure) == ["3", "1", "8"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("answer", "true class", "dan")
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]


def test_many_classes_are_not_labelled():
    count = LABELLED_UP_TO + 1
    assert _texts(confusion_figure([[1] * count] * count, ["x"] * count, "dan")) == []


@pytest.mark.parametrize("name", ["$_{$", "a$b$^$", "grün", "<b>", "_", "\\frac"])
def test_any_class_name_can_be_drawn(name):
    """Folder names are not formulas."""
    stream = io.BytesIO()
    confusion_figure([[0, 0], [1, 1]], [name, "dog"], "dan").savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")

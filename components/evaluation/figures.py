"""Pictures for where the report does not reach, such as MLflow's pages."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

LABELLED_UP_TO = 30  # classes: beyond that, names and numbers would lie on top of each other


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """The confusion matrix: counts, shaded by the share of the true class."""
    count = len(classes)
    side = min(12.0, 2.5 + 0.4 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot(xlabel="answer", ylabel="true class")
    axes.set_title(title, parse_math=False)  # a class may be named $x$
    shares = [[cell / max(1, sum(row)) for cell in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= LABELLED_UP_TO:
        axes.set_xticks(range(count), classes, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(count), classes, parse_math=False)
        for row, cells in enumerate(confusion):
            for column, cell in enumerate(cells):
                if cell:
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    axes.text(column, row, str(cell), ha="center", va="center", color=colour)
    return figure

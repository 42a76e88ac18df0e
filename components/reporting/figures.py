"""Pictures for where the report does not reach, such as MLflow's pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LABELLED_UP_TO = 30  # classes: beyond that, names and numbers would lie on top of each other
BLUE, ORANGE, GREY = "#2563a8", "#c2571a", "#8a8f98"


def panels(row: Mapping, classes: Sequence[str], history: Sequence[Mapping]) -> Figure:
    """One strategy at a glance: confusion matrix, recall of each class, reliability, and its losses.

    `row`: of reports/evaluation.json; `history`: the records of models/<name>/history.jsonl.
    """
    test = row["test"]
    figure = Figure(figsize=(11, 9.5))
    figure.subplots_adjust(left=0.09, right=0.98, top=0.91, bottom=0.08, wspace=0.24, hspace=0.34)
    figure.suptitle(
        f"{row['strategy']}: {test['accuracy']:.1%} of the test images ({test['low']:.1%} to {test['high']:.1%})",
        parse_math=False,
    )
    confusion(figure.add_subplot(2, 2, 1), row["confusion"], classes)
    recalls(figure.add_subplot(2, 2, 2), row["per_class"])
    reliability(figure.add_subplot(2, 2, 3), row["reliability"])
    loss_terms(figure.add_subplot(2, 2, 4), history)
    for axes in figure.axes:
        axes.minorticks_off()  # ticks are most of what a figure costs
    return figure


def losses(history: Sequence[Mapping], title: str) -> Figure:
    """The terms of the loss alone, for a training that came to nothing."""
    figure = Figure(figsize=(6, 4.5))
    figure.subplots_adjust(left=0.13, right=0.97, top=0.88, bottom=0.13)
    figure.suptitle(title, parse_math=False)
    loss_terms(figure.add_subplot(), history)
    return figure


def accuracies(evaluation: Mapping) -> Figure:
    """Every strategy's test accuracy with its interval, best first by validation; blue: no real lead of the chosen one
    over it."""
    rows = evaluation["strategies"]
    figure = Figure(figsize=(8, 1.4 + 0.34 * len(rows)))
    axes = figure.add_subplot(xlabel=f"test accuracy, with its {evaluation['confidence']:.0%} interval")
    figure.subplots_adjust(left=0.28, right=0.97, top=0.97, bottom=0.8 / figure.get_figheight())
    for place, row in enumerate(rows):
        test, colour = row["test"], BLUE if row["tied_with_first"] else GREY
        axes.plot([test["low"], test["high"]], [place, place], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([test["accuracy"]], [place], "o", color=colour)
    names = [row["strategy"] + (" (chosen)" if row["strategy"] == evaluation["chosen"] else "") for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    return figure


def confusion(axes: Axes, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
    """Counts, shaded by the share of the true class."""
    axes.set(xlabel="answer", ylabel="true class", title="Confusion matrix")
    shares = [[cell / max(1, sum(row)) for cell in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= LABELLED_UP_TO:
        axes.set_xticks(range(len(classes)), classes, **_slant(classes), parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for row, cells in enumerate(counts):
            for column, cell in enumerate(cells):
                if cell:
                    colour = "white" if shares[row][column] > 0.5 else "black"
                    axes.text(column, row, str(cell), ha="center", va="center", color=colour, fontsize=8)


def recalls(axes: Axes, per_class: Sequence[Mapping]) -> None:
    """The share of each class that was found, with its interval."""
    axes.set(title="Recall of each class", ylim=(0, 1.02))
    places, found = range(len(per_class)), [entry["recall"] for entry in per_class]
    axes.bar(places, found, color=BLUE)
    spread = [[max(0.0, sign * (entry[bound] - entry["recall"])) for entry in per_class]
              for bound, sign in (("recall_low", -1), ("recall_high", 1))]  # fmt: skip
    axes.errorbar(places, found, yerr=spread, fmt="none", ecolor="black", elinewidth=1)
    names = [entry["class_name"] for entry in per_class]
    axes.set_xticks([], [])
    if len(names) <= LABELLED_UP_TO:
        axes.set_xticks(places, names, **_slant(names), parse_math=False)


def reliability(axes: Axes, bins: Mapping[str, Sequence[Mapping]]) -> None:
    """Accuracy against confidence, before and after the logits were divided by the temperature; the diagonal is honest.
    A point's size is its share of the images."""
    axes.set(title="Reliability", xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for when, colour in (("before", ORANGE), ("after", BLUE)):
        images = sum(entry["images"] for entry in bins[when]) or 1
        axes.scatter(
            [entry["confidence"] for entry in bins[when]],
            [entry["accuracy"] for entry in bins[when]],
            s=[12 + 200 * entry["images"] / images for entry in bins[when]],
            color=colour,
            alpha=0.7,
            label=f"{when} temperature scaling",
        )
    axes.legend(loc="upper left", frameon=False)


def loss_terms(axes: Axes, history: Sequence[Mapping]) -> None:
    """Every term against the step, a line for each seed."""
    axes.set(title="Terms of the loss", xlabel="step")
    lines: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for record in history:
        for name, value in record.items():
            if name not in ("seed", "step", "lr") and not name.startswith("val_"):
                lines.setdefault((name, record["seed"]), []).append((record["step"], value))
    terms = list(dict.fromkeys(name for name, _ in lines))
    for name, seed in lines:
        steps, values = zip(*lines[name, seed], strict=True)
        first = next(other for term, other in lines if term == name) == seed
        axes.plot(steps, values, color=f"C{terms.index(name)}", alpha=0.8, label=name if first else None)
    if terms:
        axes.legend(frameon=False)
        if all(value > 0 for points in lines.values() for _, value in points):
            axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "solved in closed form: no steps", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([], [])
        axes.set_yticks([], [])


def _slant(names: Sequence[str]) -> dict:
    """How to write names below an axis: level where they are short."""
    return {} if all(len(name) <= 3 for name in names) else {"rotation": 45, "ha": "right"}

"""graft curve: accuracy against labels per class."""

from __future__ import annotations

from typing import Annotated

import typer

from components import paths
from graft.console import console


def curve(
    labels: Annotated[str, typer.Option(help="Labelled images per class, with commas between them.")] = "1,2,5,10,20",
    strategies: Annotated[
        str | None,
        typer.Option(help="Entries of params.yaml, with commas between them; else the last winner and from_scratch."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Each draws its own labels; else train.seeds.")] = None,
    goal: Annotated[
        float | None, typer.Option(help="Accuracy to reach, such as 0.95; else half of the best one's errors.")
    ] = None,
) -> None:
    """Measure accuracy against labels per class: how many more labels would I need?"""
    from components.reporting import curve_page
    from components.stages import curve as stage

    found = stage.curve(labels=labels, strategies=strategies, seeds=seeds, goal=goal)
    out = console()
    out.print(curve_page.table(found))
    for line in (found["band"], f"Goal: {100 * found['goal']:.4g}% ({found['goal_is']})."):
        out.print(line)
    for row in found["strategies"]:
        out.print(f"- {row['sentence']}", markup=False)
    out.print(f"Page: {paths.CURVE / 'index.html'}   Numbers: {paths.CURVE / 'curve.json'}")

"""graft export: competitors of the last run as bundles, each through the same gates as the winner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from components import jsonfile, paths
from components.errors import ParamsError, ParityError
from graft.console import console

if TYPE_CHECKING:
    from collections.abc import Mapping

OUT = paths.STATE / "exports"


def export(
    strategies: Annotated[
        list[str] | None, typer.Argument(help="Competitors of the last run; by default the chosen one.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All competitors that have a model.")] = False,
    out: Annotated[Path, typer.Option(help="Where every bundle gets a folder of its strategy's name.")] = OUT,
) -> None:
    """Export competitors of the last run as bundles, each through the gates.

    Exit code 4 when one is refused.
    """
    from rich import box
    from rich.table import Table

    from components import params as parameters
    from components.data import prepared
    from components.stages import export as stage

    if everyone and strategies:
        raise ParamsError("give --all or names of strategies, not both")
    params, data, evaluation = parameters.load(Path()), prepared.read(paths.PREPARED), jsonfile.read(paths.EVALUATION)
    names = list(dict.fromkeys(strategies or [evaluation["chosen"]]))
    if everyone:
        names = [row["strategy"] for row in evaluation["strategies"]]
    screen = console()
    table = Table("strategy", "route", "", "agree", "accuracy", "change", "logits ±", "ECE", box=box.SIMPLE_HEAD)
    refused: dict[str, str] = {}
    for name in names:
        start = time.perf_counter()
        try:
            facts = stage.make(name, out / name, evaluation, data, params)
        except ParityError as error:
            refused[name] = str(error)
            table.add_row(name, "fp32", "[red]refused[/]", end_section=True)
            continue
        screen.print(f"{name}: {out / name}, in {time.perf_counter() - start:.1f} s", markup=False, soft_wrap=True)
        admission = facts["admission"]
        for index, (route, verdict) in enumerate(admission.items()):
            table.add_row("" if index else name, route, *_cells(verdict), end_section=index == len(admission) - 1)
            if not verdict["admitted"]:
                refused[f"{name} {route}"] = verdict["reason"]
    screen.print(table)
    for what, reason in refused.items():
        screen.print(f"- {what} refused: {reason}", markup=False)
    for entry in evaluation["failed"] if everyone else ():
        screen.print(f"- {entry['strategy']} left out: its training failed, {entry['reason']}", markup=False)
    without = [name for name in names if name in refused]
    if without:
        raise ParityError(f"{len(without)} of {len(names)} were refused and have no bundle: {', '.join(without)}")
    screen.print(
        f"{len(names)} of {len(names)} passed the gates; their bundles are in {out}", markup=False, soft_wrap=True
    )


def _cells(verdict: Mapping) -> tuple[str, ...]:
    """A route's part of the table; of one that gave no answers nothing is known but the verdict."""
    said = "admitted" if verdict["admitted"] else "[red]refused[/]"
    if verdict["agreement"] is None:
        return (said,)
    if verdict["max_logit_difference"] is None:  # some answers are no numbers
        return said, f"{verdict['agreement']:.2%}", f"{verdict['accuracy']:.2%}"
    return (
        said,
        f"{verdict['agreement']:.2%}",
        f"{verdict['accuracy']:.2%}",
        f"{100 * verdict['accuracy_difference']['value']:+.2f}",
        f"{verdict['max_logit_difference']:.1e}",
        f"{verdict['ece']:.3f}",
    )

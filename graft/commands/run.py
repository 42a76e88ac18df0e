"""graft run: the whole pipeline, as far as it is not up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from components import jsonfile, paths
from graft.commands.status import show_champion
from graft.console import console


def run(
    force: Annotated[bool, typer.Option("--force", help="Run every stage again.")] = False,
    promotion: Annotated[bool, typer.Option("--promote/--no-promote", help="Decide about the new bundle.")] = True,
    strategies: Annotated[
        str | None,
        typer.Option(help="Who competes, from now on: names with commas between them, or 'all'. Changes params.yaml."),
    ] = None,
) -> None:
    """Run the pipeline: what is not up to date, then the promotion."""
    from components import params
    from flows import driver

    root, out = Path(), console()
    if strategies is not None:
        from graft import competitors

        out.print(competitors.choose(root, strategies))
    params.load(root)  # a wrong key is refused here, before anything starts
    if force or driver.to_do(root, promotion=promotion):
        driver.run(root, force=force, promotion=promotion)
    else:
        out.print("Nothing to do: every stage is up to date and the bundle has been decided about.")
    _show_results()


def _show_results() -> None:
    from components.reporting import leaderboard

    out, evaluation = console(), jsonfile.read(paths.EVALUATION)
    out.print(leaderboard.table(jsonfile.read(paths.LEADERBOARD), evaluation["failed"]))
    out.print(evaluation["verdict"])
    if paths.ORIGIN.exists():  # made from another one, which is the one that has a champion
        return
    show_champion(out)
    out.print(f"Report: {paths.REPORT}   Bundle: {paths.CHAMPION}   MLflow and Prefect: make ui")

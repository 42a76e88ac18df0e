"""`graft`: the command line. Every command imports what it needs when it is called, so that each starts at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from components import jsonfile, paths
from graft.commands.benchmark import benchmark, tune
from graft.commands.export import export
from graft.commands.serve import serve

app = typer.Typer(
    help="Moves a pretrained vision model onto your images, compares the ways honestly, ships the winner as ONNX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)
WIDTH = 100  # of tables where the terminal's width is unknown


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def predict(context: typer.Context) -> None:
    """Classify images with the champion."""
    from graft.commands.predict import predict as command

    raise typer.Exit(command(context.args))


app.command()(benchmark)
app.command()(tune)
app.command()(export)
app.command()(serve)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    os.environ["GRAFT_DEBUG"] = "1" if debug else ""


@app.command()
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

    root = Path()
    if strategies is not None:
        from graft import competitors

        out.print(competitors.choose(root, strategies))
    params.load(root)  # a wrong key is refused here, before anything starts
    if force or driver.to_do(root, promotion=promotion):
        driver.run(root, force=force, promotion=promotion)
    else:
        out.print("Nothing to do: every stage is up to date and the bundle has been decided about.")
    _show_results()


@app.command()
def status() -> None:
    """Show which stages are up to date, and what is in production."""
    from components import params
    from flows import driver, graph

    root = Path()
    params.load(root)
    waiting = set(driver.to_do(root))
    grid = Table("stage", "state")
    for stage in graph.read(root):  # each comes after those it needs
        if waiting.intersection(stage.needs):
            waiting.add(stage.address)
        grid.add_row(stage.address, "to run" if stage.address in waiting else "up to date")
    grid.add_row("promote", "to run" if waiting else "up to date")
    out.print(grid)
    _show_champion(out)


@app.command()
def promote() -> None:
    """Decide about the last run's bundle, and put it into production if it is better."""
    from components.stages import promote as stage

    stage.promote()


@app.command()
def rollback(
    version: Annotated[str | None, typer.Argument(help="By default the champion before this one.")] = None,
) -> None:
    """Put an earlier version back into production."""
    from components.stages import promote as stage

    restored = stage.rollback(version)
    out.print(f"Version {restored} is champion again.")


@app.command()
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
    console = out if out.is_terminal else Console(width=WIDTH, highlight=False)
    console.print(curve_page.table(found))
    for line in (found["band"], f"Goal: {100 * found['goal']:.4g}% ({found['goal_is']})."):
        console.print(line)
    for row in found["strategies"]:
        console.print(f"- {row['sentence']}", markup=False)
    console.print(f"Page: {paths.CURVE / 'index.html'}   Numbers: {paths.CURVE / 'curve.json'}")


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Open MLflow and Prefect on loopback, until Ctrl-C."""
    from components import params
    from graft import ui as servers

    experiment = params.load(Path()).promote.registered_model
    servers.serve(Path(), experiment, mlflow_port=mlflow_port, prefect_port=prefect_port, say=out.print)


@app.command()
def doctor() -> None:
    """Check versions, the GPU, onnxruntime's providers and what can be written."""
    from graft.doctor import examine

    findings = examine(Path())
    grid = Table("", "what", "found", show_header=False, box=None)
    for finding in findings:
        grid.add_row({True: "[green]ok[/]", False: "[red]bad[/]", None: "-"}[finding.good], finding.what, finding.found)
    out.print(grid)
    if any(finding.good is False for finding in findings):
        raise typer.Exit(1)


def _show_results() -> None:
    from components.reporting import leaderboard

    console = out if out.is_terminal else Console(width=WIDTH, highlight=False)
    evaluation = jsonfile.read(paths.EVALUATION)
    console.print(leaderboard.table(jsonfile.read(paths.LEADERBOARD), evaluation["failed"]))
    console.print(evaluation["verdict"])
    _show_champion(console)
    console.print(f"Report: {paths.REPORT}   Bundle: {paths.CHAMPION}   MLflow and Prefect: make ui")


def _show_champion(console: Console) -> None:
    decisions = jsonfile.read_lines(paths.DECISIONS)
    if not decisions:
        console.print("No champion yet: `graft promote` makes one of the last run's bundle.")
        return
    last = decisions[-1]
    strategy = jsonfile.read(paths.CHAMPION / "bundle.json")["strategy"]
    console.print(
        f"Champion: {strategy}. Last decision: {last['decision']} version {last['version']}, {last['reason']}."
    )

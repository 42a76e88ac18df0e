"""graft tune: how to run a bundle fastest on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from components import paths
from components.errors import ParamsError
from graft import champion
from graft.console import console, grid, milliseconds

if TYPE_CHECKING:
    from components.speed.tuning import Tuning


def tune(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")] = paths.CHAMPION,
    seconds: Annotated[float, typer.Option(help="How long to search, about.")] = 60.0,
    batch_size: Annotated[int, typer.Option(help="Images of a call that is to be fast.")] = 1,
) -> None:
    """Find how a bundle runs fastest on this machine, and run it so from now on.

    What is found is noted in the bundle's machines.json, for all machines of this type.
    """
    from components.runtimes import machines
    from components.speed import tuning

    if seconds <= 0:
        raise ParamsError(f"--seconds is {seconds:g}, but must be positive")
    if bundle.resolve() == paths.BUNDLE.resolve() and Path("dvc.yaml").exists():
        raise ParamsError(
            f"{bundle} is made by the pipeline, which would make it anew for every change: tune {paths.CHAMPION}, or a "
            "copy elsewhere"
        )
    if batch_size < 1:
        raise ParamsError(f"--batch-size is {batch_size}, but must be at least 1")
    champion.require(bundle)
    out = console()
    found = tuning.tune(bundle, seconds, batch_size=batch_size, say=lambda line: out.print(Text(line, style="dim")))
    out.print(tried(found))
    told = found.measured
    gain = f"{told['ratio']:.2f} times as fast as {told['over']} ({told['low']:.2f} to {told['high']:.2f})"
    if tuning.describe(found.chosen) == told["over"]:
        gain = "nothing beats it by more than chance"
    out.print(Text(f"Fastest here: {tuning.describe(found.chosen)}; {gain}."))
    out.print(Text(f"Most images per second from batches of {told['batch_size']} on: {told['images_per_s']:,.0f}."))
    out.print(Text(f"{bundle / machines.FILE}: {machines.describe()}"))


def tried(found: Tuning) -> Table:
    """What `graft tune` measured, the fastest first."""
    table = grid(
        "Tried", "route", "threads", "spinning", "arena", "optimization", "p50 ms", "times as fast", "in",
        folded=("in",),
    )  # fmt: skip
    for trial in found.trials:
        options, over = trial.candidate.options, trial.over_default
        table.add_row(
            Text(str(trial.candidate.route), style="bold" if trial.candidate == found.chosen else ""),
            "all" if options.threads is None else str(options.threads),
            "yes" if options.spinning else "no",
            "yes" if options.arena else "no",
            options.optimization,
            milliseconds(trial.latency_ms),
            f"{over.value:.2f} ({over.low:.2f}-{over.high:.2f})",
            trial.part,
        )
    return table

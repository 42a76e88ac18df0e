"""`graft`: the command line, command by command. Each imports what it needs when it is called, so that all start at
once."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from graft.commands.adapt import adapt
from graft.commands.backbones import backbones
from graft.commands.benchmark import benchmark
from graft.commands.curve import curve
from graft.commands.doctor import doctor
from graft.commands.export import export
from graft.commands.history import history
from graft.commands.init import init
from graft.commands.monitor import monitor
from graft.commands.promote import promote, rollback
from graft.commands.rebuild import rebuild
from graft.commands.run import run
from graft.commands.schedule import app as schedule
from graft.commands.serve import serve
from graft.commands.status import status
from graft.commands.tune import tune
from graft.commands.ui import ui

app = typer.Typer(
    help="Moves a pretrained vision model onto your images, compares the ways honestly, ships the winner as ONNX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    os.environ["GRAFT_DEBUG"] = "1" if debug else ""


def predict(context: typer.Context) -> None:
    """Classify images with the champion."""
    from graft.commands.predict import predict as command

    raise typer.Exit(command(context.args))


# In the order of `graft --help`: make a model, use it, look into it, choose among versions, and the rest.
app.command()(init)
app.command()(backbones)
app.command()(run)
app.command()(status)
app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(predict)
for command in (serve, export, benchmark, tune, promote, rollback, history, rebuild, monitor, adapt, curve, ui, doctor):
    app.command()(command)
app.add_typer(schedule, name="schedule")

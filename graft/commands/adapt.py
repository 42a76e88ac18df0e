"""graft adapt: from images that have changed to a model that was adapted to them, in one go and in the foreground."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer


def adapt(
    labels: Annotated[
        Path | None, typer.Option(help="A CSV with the columns path and label, of some of the images that were kept.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why: for the name of the run.")] = "",
) -> None:
    """Adapt to the images that came in last, and put the result into production if it is better."""
    from components import paths, workspaces
    from components.stages import adapt as stage

    root = Path()
    made = stage.make(root, labels=labels, reason=reason)
    print(stage.told(made))
    place = root / made["path"]
    environment = {**os.environ, **workspaces.environment(root)}
    # The code is the workspace's own, so that what is edited here meanwhile does not reach it.
    _run([sys.executable, "-m", "graft", "run", "--no-promote"], place, environment)
    _run([sys.executable, "-m", "components.stages.promote", "--from", str(place)], root, dict(os.environ))
    print(f"Report: {place / paths.REPORT}")


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Shows the command's lines as they come, and ends as it ended where it failed."""
    code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if code:
        raise typer.Exit(code if code > 0 else 128 - code)

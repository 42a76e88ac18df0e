"""graft schedule: the pipeline on a schedule, by a server and a worker in the background."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from graft.console import console, grid

app = typer.Typer(
    help="Run the pipeline on a schedule, and watch the images that come in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.", min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.", min=1, max=65535)] = 5000,
) -> None:
    """Start server, worker and deployments in the background; or say that they are up."""
    from components import params
    from flows import deployments, keeper

    root, out = Path(), console()
    params.load(root)  # a wrong key is refused here, before anything starts
    declared = deployments.declared(root)
    before = keeper.state(root)
    said = keeper.up(root, prefect_port=prefect_port, mlflow_port=mlflow_port)
    out.print("The schedule is up." if before is None else "The schedule was up already (to change it: down, then up).")
    _where(said)
    out.print(f"Deployments: {', '.join(declared.names)}. Which of them run by themselves: graft schedule status")
    out.print("Run one now: in Prefect's pages, Deployments. End all of it: graft schedule down")


@app.command()
def down() -> None:
    """End server, worker and what runs on them."""
    from flows import keeper

    console().print("The schedule is down." if keeper.down(Path()) else "The schedule was not up.")


@app.command()
def status() -> None:
    """Show what is up, what runs next and what ran last."""
    from flows import deployments, keeper

    root, out = Path(), console()
    said = keeper.state(root)
    if said is None:
        out.print("The schedule is not up: graft schedule up")
        return
    _where(said)
    if not said["ready"]:
        out.print("It is only just coming up.")
        return
    keeper.point_at(root, said)
    table = grid("Deployments", "name", "runs by itself", "next", "last", folded=("runs by itself", "next", "last"))
    for entry in deployments.standing(deployments.declared(root).names):
        table.add_row(entry.name, entry.schedule or "no", _when(entry.next), entry.last)
    out.print(table)


def _when(moment: datetime | None) -> str:
    """In the machine's own time; a run whose time has come waits for a worker, or for another run."""
    if moment is None:
        return ""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") + (", waits" if moment < datetime.now(UTC) else "")


def _where(said: dict[str, Any]) -> None:
    from components.tracking import store

    out = console()
    out.print(f"Prefect: {said['prefect']}")
    out.print(f"MLflow:  {said['mlflow'] or store.address(Path())}")
    out.print("Logs:    .graft/schedule/")

"""graft ui: MLflow's and Prefect's web pages for a workspace, on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from components import paths
from components.errors import MachineError
from components.tracking import store
from flows import keeper, services
from graft.console import console


def ui(
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Open MLflow and Prefect on loopback, until Ctrl-C."""
    from components import params

    experiment, out = params.load(Path()).promote.registered_model, console()
    up = keeper.state(Path())
    if up is not None:
        pages = f"Prefect {up['prefect']}, MLflow {up['mlflow'] or store.address(Path())}"
        out.print(f"The schedule is {'up' if up['ready'] else 'coming up'}, and so are its pages: {pages}")
        return
    serve(Path(), experiment, mlflow_port=mlflow_port, prefect_port=prefect_port, say=out.print)


def serve(root: Path, experiment: str, *, mlflow_port: int, prefect_port: int, say: Callable[[str], None]) -> None:
    """Starts both servers, says where they are, and stays until it is interrupted; then both end.

    Raises MachineError naming the server that does not come up.
    """
    place = root.resolve()
    services.require_free(prefect_port, "--prefect-port")
    running = [services.prefect(place, prefect_port, place / paths.STATE)]
    mlflow = services.mlflow(place, mlflow_port, place / paths.STATE, experiment)
    if mlflow is None:
        say(f"MLflow: {store.address(root)} (from {store.URI_VARIABLE})")
    else:
        services.require_free(mlflow_port, "--mlflow-port")
        running.insert(0, mlflow)
    try:
        for service in running:
            service.start()
        for service in running:
            service.wait()
            say(f"{service.name}: {service.url}")
        say("Ctrl-C ends both.")
        while all(service.running for service in running):
            time.sleep(0.5)
        raise MachineError("a server ended by itself; its log is in .graft/")
    finally:
        for service in running:
            service.ask_to_end()
        for service in running:
            service.end()

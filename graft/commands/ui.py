"""graft ui: MLflow's and Prefect's web pages for a workspace, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from components import paths
from components.errors import MachineError
from components.tracking import store
from flows import server, supervise
from graft.console import console

START_TIMEOUT_S = 120


def ui(
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Open MLflow and Prefect on loopback, until Ctrl-C."""
    from components import params

    experiment = params.load(Path()).promote.registered_model
    serve(Path(), experiment, mlflow_port=mlflow_port, prefect_port=prefect_port, say=console().print)


def serve(root: Path, experiment: str, *, mlflow_port: int, prefect_port: int, say: Callable[[str], None]) -> None:
    """Starts both servers, says where they are, and stays until it is interrupted; then both end.

    Raises MachineError naming the server that does not come up.
    """
    environment = {
        **os.environ,
        **server.QUIET,
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_HOME": server.home(root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    address = ["--host", "127.0.0.1", "--port"]
    mlflow = ["mlflow", "server", *address, str(mlflow_port), "--workers", "1", "--backend-store-uri", store.uri(root)]
    mlflow += ["--default-artifact-root", store.artifacts(root).as_uri()]
    prefect = ["prefect", "server", "start", *address, str(prefect_port)]
    (root / paths.STATE).mkdir(exist_ok=True)
    servers = [("MLflow", mlflow, mlflow_port), ("Prefect", prefect, prefect_port)]
    if store.uri(root).startswith(("http://", "https://")):
        say(f"MLflow: {store.uri(root)} (from {store.URI_VARIABLE})")
        servers = servers[1:]
    else:
        store.connect(root, experiment)  # makes a fresh store while no one else does
    running = []
    try:
        for name, command, port in servers:
            log = (root / paths.STATE / f"{name.lower()}.log").open("w")
            process = subprocess.Popen(
                supervise.command([sys.executable, "-m", *command]),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
            running.append((name, process, f"http://127.0.0.1:{port}", log.name))
        for name, process, url, log_name in running:
            _wait(name, process, url, log_name)
            say(f"{name}: {url}")
        say("Ctrl-C ends both.")
        while all(process.poll() is None for _, process, _, _ in running):
            time.sleep(0.5)
        raise MachineError("a server ended by itself; its log is in .graft/")
    finally:
        for _, process, _, _ in running:
            assert process.stdin is not None
            process.stdin.close()
        for _, process, _, _ in running:
            process.wait(timeout=2 * supervise.GRACE_S + 5)


def _wait(name: str, process: subprocess.Popen, url: str, log: str) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise MachineError(f"{name} did not start at {url}; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise MachineError(f"{name} did not answer at {url} within {START_TIMEOUT_S} s; see {log}")

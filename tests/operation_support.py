"""A workspace whose schedule is up, as its neighbours see it: by commands, by the two servers' APIs, and by kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from components import jsonfile, paths
from whole_support import GRAFT, environment, wait_for

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
LATEST_S = 600
"""For whatever takes seconds when nobody else is at work on the machine."""


@dataclass(frozen=True)
class Operation:
    """`prefect`, `mlflow`: the servers' addresses; `model`: the registered one."""

    root: Path
    prefect: str
    mlflow: str
    model: str

    def graft(self, *arguments: str, ends_with: int = 0) -> str:
        done = subprocess.run(
            [*GRAFT, *arguments], cwd=self.root, env=_environment(), text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == ends_with, done.stdout
        return done.stdout

    def up(self) -> str:
        ports = [address.rpartition(":")[2] for address in (self.prefect, self.mlflow)]
        return self.graft("schedule", "up", "--prefect-port", ports[0], "--mlflow-port", ports[1])

    def ask(self, path: str, body: dict | None = None) -> Any:
        """Prefect's API: GET, or POST of `body`. While its database is busy it wants to be asked again (503)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.prefect}/api/{path}", data, {"Content-Type": "application/json"})
        until = time.monotonic() + LATEST_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.loads(answer.read() or "null")
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > until:
                    pytest.fail(f"{path}: {error}\n{error.read().decode()}")
            time.sleep(0.5)

    @property
    def answers(self) -> bool:
        """Whether Prefect's server does."""
        try:
            with urllib.request.urlopen(f"{self.prefect}/api/health", timeout=60):
                return True
        except OSError:
            return False

    def champion(self) -> str:
        """Its version, as MLflow's server says."""
        asked = f"{self.mlflow}/api/2.0/mlflow/registered-models/alias?name={self.model}&alias=champion"
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)["model_version"]["version"]

    def runs(self, deployment: str) -> list[dict]:
        """Its flow runs, in the order in which they were to start."""
        asked = {"deployments": {"name": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
        return self.ask("flow_runs/filter", asked)

    def start(self, deployment: str, **parameters: Any) -> dict:
        """`deployment`: <flow>/<name>."""
        known = self.ask(f"deployments/name/{deployment}")
        return self.ask(f"deployments/{known['id']}/create_flow_run", {"parameters": parameters})

    def state(self, run: dict) -> str:
        return self.ask(f"flow_runs/{run['id']}")["state"]["type"]

    def ended(self, run: dict, how: str = "COMPLETED") -> dict:
        """The run, once it has ended like that; shows its log and the keeper's when it ends otherwise."""
        wait_for(lambda: self.answers and self.state(run) in ENDED, LATEST_S)
        now = self.ask(f"flow_runs/{run['id']}")
        if now["state"]["type"] != how:
            asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_DESC", "limit": 60}
            told = [line["message"] for line in reversed(self.ask("logs/filter", asked))]
            told.append((self.root / paths.SCHEDULE / "keeper.log").read_text()[-3000:])
            pytest.fail("\n".join([f"{now['name']}: {now['state']}", *told]))
        return now

    def decisions(self) -> list[dict]:
        return jsonfile.read_lines(self.root / paths.DECISIONS)

    def processes(self, text: str = "") -> list[int]:
        """Those at work in the workspace, or in one below it, whose command line holds `text`."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if text in (entry / "cmdline").read_text().replace("\0", " ") and (entry / "cwd").resolve(
                    strict=True
                ).is_relative_to(self.root):
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue
        return found

    def kill(self, text: str = "") -> None:
        """Kills them with a signal that nobody can answer."""
        killed = self.processes(text)
        assert killed, f"nobody is at work as {text!r}"
        for process in killed:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextmanager
def schedule(root: Path, model: str) -> Generator[Operation]:
    """The schedule of a workspace, on ports of its own; nothing of it is left afterwards."""
    prefect, mlflow = _free_ports(2)
    made = Operation(root.resolve(), f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}", model)
    try:
        told = made.up()
        assert made.prefect in told
        assert made.mlflow in told
        yield made
    finally:
        subprocess.run([*GRAFT, "schedule", "down"], cwd=root, env=_environment(), check=False)
        if made.processes():
            made.kill()


def _environment() -> dict[str, str]:
    """How often somebody looks: a worker for new runs, and a run that finds another's place taken."""
    often = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1"}
    return {**environment(), **often}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports

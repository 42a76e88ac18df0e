"""Servers of others (Prefect's, MLflow's, a Prefect worker) as supervised processes of a workspace, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TextIO

from components.errors import MachineError
from components.tracking import store
from flows import server, supervise

HOST = "127.0.0.1"
START_TIMEOUT_S = 120


class Service:
    """One server. It ends with this process, however this process ends; what it says goes to `log`."""

    def __init__(
        self, name: str, arguments: list[str], *, log: Path, environment: dict[str, str], url: str | None = None
    ) -> None:
        self.name, self.url, self.log = name, url, log
        self._arguments, self._environment = arguments, environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with fresh(self.log) if self._process is None else self.log.open("a") as log:
            self._process = subprocess.Popen(
                supervise.command([sys.executable, "-m", *self._arguments]),
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether its page can be had."""
        assert self.url is not None
        try:
            with urllib.request.urlopen(self.url, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def wait(self) -> None:
        """Until it answers. Raises MachineError, naming the log, when it ends or stays silent instead."""
        until = time.monotonic() + START_TIMEOUT_S
        while not self.answers:
            if not self.running:
                raise MachineError(f"{self.name} did not start at {self.url}; see {self.log}")
            if time.monotonic() > until:
                raise MachineError(f"{self.name} did not answer at {self.url} within {START_TIMEOUT_S} s; {self.log}")
            time.sleep(0.2)

    def ask_to_end(self) -> None:
        """Closes the lifeline; `end` waits for what follows."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def end(self) -> None:
        self.ask_to_end()
        if self._process is not None:
            self._process.wait(timeout=2 * supervise.GRACE_S + 5)


def fresh(log: Path) -> TextIO:
    """The log, empty. What was in it says how the one before ended, so it is kept beside it, as `<name>.1`."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    return log.open("a")


def require_free(port: int, option: str) -> None:
    """Raises MachineError naming the option when something listens at the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: a port just left is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise MachineError(f"port {port} cannot be had ({error.strerror}): choose another with {option}") from None


def environment(root: Path) -> dict[str, str]:
    """What all of them need: nothing is sent to anyone, and Prefect keeps its things in the workspace."""
    return {
        **os.environ,
        **server.QUIET,
        "PREFECT_SERVER_UI_ENABLED": "true",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_HOME": server.home(root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # judges of language models: five processes for nothing
    }


def prefect(root: Path, port: int, folder: Path) -> Service:
    command, url = ["prefect", "server", "start", "--host", HOST, "--port", str(port)], f"http://{HOST}:{port}"
    # Its pages would ask at the port of its settings, which is 4200 whatever the command line says.
    told = {**environment(root), "PREFECT_SERVER_UI_API_URL": f"{url}/api"}
    # Who holds a place among a deployment's `concurrency_limit` is otherwise forgotten when the server starts anew, and
    # Prefect crashes a run whose place it no longer knows.
    told["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"] = "prefect.server.concurrency.lease_storage.filesystem"
    return Service("Prefect", command, log=folder / "prefect.log", environment=told, url=url)


def has_own_mlflow(root: Path) -> bool:
    """Whether the workspace's store is no server, which would have pages already."""
    return not store.uri(root).startswith(("http://", "https://"))


def mlflow(root: Path, port: int, folder: Path, experiment: str) -> Service | None:
    """MLflow's pages over the workspace's own store; None when MLFLOW_TRACKING_URI names a server, which has its own
    pages. Makes a fresh store while no one else does."""
    if not has_own_mlflow(root):
        return None
    told, where = environment(root), store.uri(root)  # before `connect`, which changes this process's
    store.connect(root, experiment)
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", store.artifacts(root).as_uri()]
    told["MLFLOW_BACKEND_STORE_URI"] = where  # it may hold a password, and a command line is there for all to read
    return Service("MLflow", command, log=folder / "mlflow.log", environment=told, url=f"http://{HOST}:{port}")


def worker(root: Path, api: str, pool: str, folder: Path) -> Service:
    """A Prefect worker whose runs have this interpreter, this environment and the workspace's own code."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    told = {
        **environment(root),
        server.URL_VARIABLE: api,
        "PATH": path,
        "PYTHONPATH": str(root),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
        "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "5"),
    }
    command = ["prefect", "worker", "start", "--pool", pool, "--name", socket.gethostname()]
    return Service("worker", command, log=folder / "worker.log", environment=told)

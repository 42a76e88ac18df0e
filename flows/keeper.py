"""Keeps a workspace's schedule up in the background: `python -m flows.keeper ROOT --prefect-port N --mlflow-port N`.

It starts Prefect's server, MLflow's pages and a worker, tells the server what prefect.yaml declares, and starts again
whatever ends by itself. All of them end with it, however it ends. It holds a lock that the system takes back when it
dies, so whether the schedule is up is never a guess about a process number.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from components import jsonfile, paths
from components import params as parameters
from components.errors import GraftError, MachineError
from flows import deployments, server, services, zombies

POLL_S = 0.5
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0
"""Before a service that ended is started again; doubled each time, until it has stayed up for the longest."""
START_TIMEOUT_S, STOP_TIMEOUT_S = 300.0, 60.0
LOOK_S = 0.5
"""Whoever asks for the state holds the lock for an instant. A keeper holds it for longer."""
SWEEP_S, SOON_S = 30.0, 2.0
"""Between two looks at what Prefect believes: in general, and when the process of a run has ended."""
TAKEN_ON_S = 300.0
"""A run that began nothing for so long has no process. Starting one takes seconds."""
LOCK, STATE, LOG = "lock", "state.json", "keeper.log"

_log = logging.getLogger(__name__)


def folder(root: Path) -> Path:
    return root / paths.SCHEDULE


def state(root: Path) -> dict[str, Any] | None:
    """What the keeper last said of itself: pid, prefect, mlflow, ready, error; None when there is no keeper."""
    path = folder(root) / LOCK
    if not path.exists():
        return None
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _said(root) or {"pid": None, "prefect": None, "mlflow": None, "ready": False, "error": None}
    return None


def up(root: Path, *, prefect_port: int, mlflow_port: int) -> dict[str, Any]:
    """Waits until the schedule is up, by a keeper that outlives this process, and returns its state. A keeper that is
    there already stays as it is.

    Raises MachineError when a port is taken or a service does not come up, with where to read more.
    """
    if state(root) is None:
        services.require_free(prefect_port, "--prefect-port")
        if services.has_own_mlflow(root):
            services.require_free(mlflow_port, "--mlflow-port")
        folder(root).mkdir(parents=True, exist_ok=True)
        (folder(root) / STATE).unlink(missing_ok=True)
        _start(root, prefect_port, mlflow_port)
    until = time.monotonic() + START_TIMEOUT_S
    while True:
        said = state(root)
        if said is not None and said["ready"]:
            return said
        if said is None:
            why = (_said(root) or {}).get("error")
            raise MachineError(f"the schedule did not come up: {why or f'see {folder(root) / LOG}'}")
        if time.monotonic() > until:
            raise MachineError(f"the schedule did not come up within {START_TIMEOUT_S:g} s; see {folder(root)}")
        time.sleep(POLL_S)


def down(root: Path) -> bool:
    """Ends the keeper and all that it keeps, and waits for that; False when there was none."""
    said = state(root)
    if said is None:
        return False
    pid = said["pid"]
    if pid is None:
        raise MachineError("the schedule is only just coming up: try again")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_TIMEOUT_S
    while state(root) is not None:
        if time.monotonic() > until:
            raise MachineError(f"the schedule's process {pid} did not end in time; see {folder(root) / LOG}")
        time.sleep(0.1)
    return True


def point_at(root: Path, said: Mapping[str, Any]) -> None:
    """Has Prefect's client in this process talk to the schedule's server. To be called before prefect is imported."""
    os.environ.update(
        {**server.QUIET, "PREFECT_HOME": server.home(root), server.URL_VARIABLE: f"{said['prefect']}/api"}
    )


def _start(root: Path, prefect_port: int, mlflow_port: int) -> None:
    """Returns once the new keeper holds the lock, or has ended."""
    ports = ["--prefect-port", str(prefect_port), "--mlflow-port", str(mlflow_port)]
    with services.fresh(folder(root) / LOG) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.keeper", str(root.resolve()), *ports],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=root,
        )  # fmt: skip
    while process.poll() is None and state(root) is None:
        time.sleep(0.05)


def _said(root: Path) -> dict[str, Any] | None:
    path = folder(root) / STATE
    return jsonfile.read(path) if path.exists() else None


class _Stop(BaseException):
    """The keeper has been told to end. No Exception: what mends other errors would mend this one, too."""


def _told_to_stop(number: int, frame: FrameType | None) -> None:
    raise _Stop


@contextmanager
def alone(root: Path) -> Generator[None]:
    """Holds the lock. Raises MachineError when another keeper does."""
    folder(root).mkdir(parents=True, exist_ok=True)
    with (folder(root) / LOCK).open("a") as stream:
        until = time.monotonic() + LOOK_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise MachineError("the schedule of this workspace is up already") from None
                time.sleep(0.01)
        yield


class Keeper:
    """`ready` once the worker is online and the deployments are there."""

    def __init__(self, root: Path, *, prefect_port: int, mlflow_port: int) -> None:
        self._root = root
        where = folder(root)
        self._declared = deployments.declared(root)
        self._environment = services.environment(root)
        self._prefect = services.prefect(root, prefect_port, where)
        self._api = f"{self._prefect.url}/api"
        self._experiment, self._mlflow_port = parameters.load(root).promote.registered_model, mlflow_port
        self._worker = services.worker(root, self._api, self._declared.pool, where)
        self._mlflow: services.Service | None = None
        self._kept: list[services.Service] = []

    def run(self) -> None:
        """Until a signal ends it."""
        try:
            self._say()
            self._prefect.start()  # while the store of MLflow is made
            self._kept.append(self._prefect)
            self._mlflow = services.mlflow(self._root, self._mlflow_port, folder(self._root), self._experiment)
            if self._mlflow is not None:
                self._mlflow.start()
                self._kept.append(self._mlflow)
            self._prefect.wait()
            self._declare()
            if self._mlflow is not None:
                self._mlflow.wait()
            self._say(ready=True)
            self._keep()
        except _Stop:
            _log.info("told to stop")
        except GraftError as error:
            self._say(error=str(error))
            raise
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._worker.end()  # while the server still hears what became of its runs
            for service in self._kept:
                service.ask_to_end()
            for service in self._kept:
                service.end()

    def _declare(self) -> None:
        os.environ.update({**self._environment, server.URL_VARIABLE: self._api})  # before prefect is imported
        if self._declared.pool == deployments.LOCAL_POOL:
            deployments.make_pool(self._root)
        self._sweep(taken_on_s=0.0)  # no worker of this workspace is at work yet
        self._worker.start()
        self._kept.append(self._worker)
        deployments.deploy(self._root, {**self._environment, server.URL_VARIABLE: self._api})
        deployments.plan(self._declared.names)
        until = time.monotonic() + services.START_TIMEOUT_S
        while not deployments.worker_is_online(self._declared.pool):
            if not self._worker.running or time.monotonic() > until:
                raise MachineError(f"the worker did not come online; see {self._worker.log}")
            time.sleep(0.2)

    def _keep(self) -> None:
        """Starts again what ended."""
        delays = {service.name: FIRST_DELAY_S for service in self._kept}
        due: dict[str, float] = {}
        since = {service.name: time.monotonic() for service in self._kept}
        swept = -SWEEP_S
        while True:
            now = time.monotonic()
            gone = bool(zombies.left(self._root))
            if now - swept > (SOON_S if gone else SWEEP_S) and self._prefect.answers:
                swept = now
                self._sweep()
            for service in self._kept:
                name = service.name
                if service.running:
                    if now - since[name] > LONGEST_DELAY_S:
                        delays[name] = FIRST_DELAY_S
                elif name not in due:
                    _log.warning("%s ended by itself; starting it again in %g s", name, delays[name])
                    due[name] = now + delays[name]
                    delays[name] = min(2 * delays[name], LONGEST_DELAY_S)
                elif now >= due[name]:
                    service.start()
                    del due[name]
                    since[name] = now
                    swept = -SWEEP_S  # what died may not have died alone
            time.sleep(POLL_S)

    def _sweep(self, *, taken_on_s: float = TAKEN_ON_S) -> None:
        """Runs whose process is gone, or never came, would keep others from starting."""
        try:
            for name in zombies.sweep(self._root):
                _log.warning("%s: its process is gone, so it is marked as crashed", name)
            for name in deployments.submit_again(self._declared.pool, taken_on_s):
                _log.warning("%s: it was taken on and never began, so it is submitted again", name)
        except Exception as error:  # whatever ails the server: it is asked again
            _log.warning("could not look for runs whose process is gone: %s", error)

    def _say(self, *, ready: bool = False, error: str | None = None) -> None:
        jsonfile.write(
            folder(self._root) / STATE,
            {
                "pid": os.getpid(),
                "prefect": self._prefect.url,
                "mlflow": self._mlflow.url if self._mlflow else None,
                "ready": ready,
                "error": error,
            },
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flows.keeper", description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--prefect-port", type=int, required=True)
    parser.add_argument("--mlflow-port", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _told_to_stop)
    try:
        with alone(options.root):
            Keeper(options.root, prefect_port=options.prefect_port, mlflow_port=options.mlflow_port).run()
    except GraftError as error:
        _log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""A Prefect API for one run: the one that `PREFECT_API_URL` names, or a temporary one.

Prefect would start a temporary server of its own, but leaves it running when the flow is killed. This one ends with the
process that asked for it, and starts while that process is still importing.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from components import paths
from components.errors import MachineError
from flows import supervise

URL_VARIABLE = "PREFECT_API_URL"
START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 10

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_LOGGERS_PREFECT_LEVEL": "INFO",
}
"""Nothing is sent to anyone, and the terminal belongs to the pipeline's own lines; the API still gets the whole log."""

TEMPORARY = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "FOREMAN", "TRIGGERS")
}
"""Services that have nothing to do for one run. The one that records task runs stays."""


def home(root: Path) -> str:
    """Where Prefect keeps its database: the workspace's own folder, unless PREFECT_HOME says otherwise."""
    return os.environ.get("PREFECT_HOME") or str((root / paths.PREFECT_HOME).resolve())


class Api:
    """Starts with the object, is ready after `wait`, ends with the `with` block. To be made before prefect is
    imported."""

    def __init__(self, root: Path) -> None:
        os.environ["PREFECT_HOME"] = home(root)
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        self._process: subprocess.Popen | None = None
        self._log: Path | None = None
        if not os.environ.get(URL_VARIABLE):
            self._start()

    def _start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder = Path(os.environ["PREFECT_HOME"])
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "server.log"
        server = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                supervise.command(server),
                env={**os.environ, **TEMPORARY},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        os.environ[URL_VARIABLE] = f"http://127.0.0.1:{port}/api"

    def wait(self) -> str:
        """Returns the URL once the API answers. Raises MachineError when it does not in time."""
        url = os.environ[URL_VARIABLE]
        until = time.monotonic() + (START_TIMEOUT_S if self._process else ANSWER_TIMEOUT_S)
        while True:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=5):
                    return url
            except urllib.error.HTTPError as error:
                raise MachineError(f"the Prefect API at {url} answers with {error}") from None
            except OSError as error:
                if self._process is not None and self._process.poll() is not None:
                    raise MachineError(f"the temporary Prefect server did not start; see {self._log}") from None
                if time.monotonic() > until:
                    raise MachineError(
                        f"no Prefect API at {url} ({error}); unset {URL_VARIABLE} to do without"
                    ) from None
                time.sleep(0.1)

    def drain(self) -> None:
        """Waits until what was logged has arrived: once the server is gone, Prefect would try for a minute to deliver
        it."""
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=10)

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            os.environ.pop(URL_VARIABLE, None)
            assert self._process.stdin is not None
            self._process.stdin.close()  # the lifeline: the supervisor ends the server
            try:
                self._process.wait(timeout=2 * supervise.GRACE_S + 5)
            except subprocess.TimeoutExpired:
                self._process.kill()

"""One stage as a supervised process: `dvc repro` for that stage alone, its lines as they come."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from components import params as parameters
from components.errors import StageError, Unreachable
from flows import supervise
from flows.slots import Place

KEPT_LINES = 15
NOWHERE = Place({})
RESTORED = "is cached - skipping run"
NOISE = re.compile(
    r"^(Running stage |> |Updating lock file|Generating lock file|To track the changes|To enable auto staging|"
    r"Use `dvc push`|Stage '.*' didn't change|\s*git add |\s*dvc config |$)"
)
BUSY = "is busy, it is being blocked by"
TORN = "Unable to read RWLock-file"

_running: set[subprocess.Popen] = set()
_ending = threading.Event()
"""This process has been told to end: nothing is started any more, and nothing tried again."""


class StageFailed(StageError):
    """`transient`: whether the same command may succeed when it is run again."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def repro(
    root: Path,
    address: str,
    *,
    force: bool,
    say: Callable[[str], None],
    place: Place,
    timeout_s: float,
    extra: Mapping[str, str] | None = None,
) -> bool:
    """Runs the stage and tells DVC's lock about it; True if the result came out of DVC's run cache instead. `place`,
    `extra`: as of `run`.

    Raises StageFailed with the stage's last lines and how to run it again; of a stage that has not ended after
    `timeout_s` seconds, that it was stopped.
    """
    # Without --wait-for-lock, DVC gives up after three seconds, even after the stage has finished: its work would be
    # lost.
    arguments = [
        sys.executable,
        "-m",
        "dvc",
        "--wait-for-lock",
        "repro",
        "--single-item",
        *(["--force"] if force else []),
    ]
    code, lines = run(root, [*arguments, address], say=say, place=place, extra=extra, timeout_s=timeout_s)
    if code == supervise.TIMED_OUT:
        raise StageFailed(
            f"stage {address} was stopped: it had not ended after {timeout_s / 3600:g} h (run.timeout_h, or "
            f"meta.timeout_h in dvc.yaml)\n{_tail(lines)}",
            transient=False,
        )
    if code:
        raise StageFailed(_explain(address, code, lines), transient=is_transient(code, lines))
    return any(RESTORED in line for line in lines)


def run(
    root: Path,
    arguments: list[str],
    *,
    say: Callable[[str], None],
    place: Place = NOWHERE,
    extra: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> tuple[int, list[str]]:
    """Runs a supervised command in `root`, with the environment variables of its place and those of `extra`; returns
    its exit code and its last lines. The place stays taken until the last process of it has ended, whatever becomes of
    this one."""
    if _ending.is_set():
        raise StageFailed("it was told to stop", transient=False)
    lines: deque[str] = deque(maxlen=200)
    # The interpreter's folder comes first, so that the `python` in dvc.yaml is this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1", "PATH": path, **place.environment, **(extra or {})}
    with subprocess.Popen(
        supervise.command(arguments, timeout_s),
        cwd=root,
        pass_fds=[] if place.holding is None else [place.holding.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **own},
    ) as process:
        assert process.stdout is not None
        _running.add(process)
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if not NOISE.match(line):
                    say(line.rstrip())
        finally:
            _running.discard(process)
    return process.returncode, list(lines)


def end_all() -> None:
    """Ends what runs, and lets nothing follow. For a flow that is told to end: the threads that wait for its stages
    are not, and Prefect waits for those."""
    _ending.set()
    for process in list(_running):
        assert process.stdin is not None
        process.stdin.close()  # the lifeline


def verb(root: Path, name: str, *arguments: str, say: Callable[[str], None]) -> list[str]:
    """Runs what is no stage of dvc.yaml: `python -m components.stages.<name> …`; returns its last lines.

    Raises StageFailed with the line that says why, and for one that has not ended within `run.timeout_h`.
    """
    hours = parameters.load(root).run.timeout_h
    command = [sys.executable, "-m", f"components.stages.{name}", *arguments]
    code, lines = run(root, command, say=say, timeout_s=3600 * hours)
    if code == supervise.TIMED_OUT:
        raise StageFailed(f"{name} was stopped: it had not ended after {hours:g} h (run.timeout_h)", transient=False)
    if code:
        said = [line for line in lines if line.strip()]
        why = said[-1].removeprefix(f"{name}: ") if said else "it printed nothing"
        raise StageFailed(f"{name} failed (exit code {code}): {why}", transient=is_transient(code, lines))
    return lines


def is_transient(code: int, lines: list[str]) -> bool:
    """A stage that was killed (out of memory, a node that went away) may succeed on a retry, and so may one that found
    DVC busy, DVC's own files torn by another's kill (`graph` mends them), or a server that did not answer. A wrong
    parameter, a missing GPU, a refused model or a bug will not."""
    if _ending.is_set():
        return False
    text = "\n".join(lines)
    inner = re.search(r"exited with (-?\d+)", text)
    status = int(inner.group(1)) if inner else code
    away = status == Unreachable.exit_code
    return status < 0 or status > 128 or away or BUSY in text or TORN in text


def _explain(address: str, code: int, lines: list[str]) -> str:
    return (
        f"stage {address} failed (exit code {code}); its last lines:\n{_tail(lines)}\n"
        f"run just this stage again with: dvc repro --single-item {address}"
    )


def _tail(lines: list[str]) -> str:
    return "\n".join(f"  | {line}" for line in [line for line in lines if not NOISE.match(line)][-KEPT_LINES:])

"""One stage as a supervised process: `dvc repro` for that stage alone, its lines as they come."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from components.errors import StageError
from flows import supervise

KEPT_LINES = 15
RESTORED = "is cached - skipping run"
NOISE = re.compile(
    r"^(Running stage |> |Updating lock file|Generating lock file|To track the changes|To enable auto staging|"
    r"Use `dvc push`|Stage '.*' didn't change|\s*git add |\s*dvc config |$)"
)
BUSY = "is busy, it is being blocked by"
TORN = "Unable to read RWLock-file"


class StageFailed(StageError):
    """`transient`: whether the same command may succeed when it is run again."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def repro(root: Path, address: str, *, force: bool, say: Callable[[str], None], extra: Mapping[str, str]) -> bool:
    """Runs the stage and tells DVC's lock about it; True if the result came out of DVC's run cache instead.

    `extra`: environment variables for the stage. Raises StageFailed with the stage's last lines and how to run it
    again.
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
    code, lines = run(root, [*arguments, address], say=say, extra=extra)
    if code:
        raise StageFailed(_explain(address, code, lines), transient=is_transient(code, lines))
    return any(RESTORED in line for line in lines)


def run(
    root: Path, arguments: list[str], *, say: Callable[[str], None], extra: Mapping[str, str]
) -> tuple[int, list[str]]:
    """Runs a supervised command in `root`; returns its exit code and its last lines."""
    lines: deque[str] = deque(maxlen=200)
    # The interpreter's folder comes first, so that the `python` in dvc.yaml is this one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with subprocess.Popen(
        supervise.command(arguments),
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1", "PATH": path, **extra},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if not NOISE.match(line):
                say(line.rstrip())
    return process.returncode, list(lines)


def is_transient(code: int, lines: list[str]) -> bool:
    """A stage that was killed (out of memory, a node that went away) may succeed on a retry, and so may one that found
    DVC busy, or DVC's own files torn by another's kill (`graph` mends them). A wrong parameter, a missing GPU, a
    refused model or a bug will not."""
    text = "\n".join(lines)
    inner = re.search(r"exited with (-?\d+)", text)
    status = int(inner.group(1)) if inner else code
    return status < 0 or status > 128 or BUSY in text or TORN in text


def _explain(address: str, code: int, lines: list[str]) -> str:
    shown = [line for line in lines if not NOISE.match(line)][-KEPT_LINES:]
    return "\n".join(
        [f"stage {address} failed (exit code {code}); its last lines:"]
        + [f"  | {line}" for line in shown]
        + [f"run just this stage again with: dvc repro --single-item {address}"]
    )

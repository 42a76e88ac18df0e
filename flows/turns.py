"""One run at a time in a workspace, whoever starts it: a schedule, a person, or the monitor."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from components import paths

LOCK = paths.STATE / "run.lock"
POLL_S = 0.2


@contextmanager
def turn(root: Path, what: str, say: Callable[[str], None]) -> Generator[None]:
    """Holds the workspace for one run. Waits while another is at work, and tells once which one.

    The lock is the system's: it ends with its holder, however that dies.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        told = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say(f"another run is at work here ({holder(root)}): this one waits for its turn")
                    told = True
                time.sleep(POLL_S)
        stream.seek(0)
        stream.truncate()
        note = {"run": what, "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        stream.write(json.dumps(note) + "\n")
        stream.flush()
        yield


def holder(root: Path) -> str:
    """Who wrote last that the turn is theirs."""
    try:
        note = json.loads((root / LOCK).read_text(encoding="utf-8"))
        return f"{note['run']}, process {note['process']}, since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said which"
